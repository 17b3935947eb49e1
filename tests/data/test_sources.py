"""A path becomes a source: recognised by its layout, cut or not, emptiness reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.data.sources import open_source, passages
from pointsman.errors import EmptyCollectionError, FormatError, InputError

LONG = "A train takes the right track. " * 60


def beir(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {"_id": "1", "text": LONG},
        {"_id": "2", "text": " "},
        {"_id": "3", "title": "T", "text": ""},
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def squad(file: Path) -> Path:
    paragraph = {"context": LONG, "qas": []}
    file.write_text(json.dumps({"data": [{"title": "T_t", "paragraphs": [paragraph]}]}))
    return file


def texts(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.md").write_text(LONG)
    (folder / "b.txt").write_text("short")
    (folder / "c.txt").write_text("")
    return folder


def test_each_kind_is_recognised_and_only_own_files_are_cut(tmp_path: Path) -> None:
    folder = beir(tmp_path / "beir")
    for path, kind, ids in (
        (folder, "beir", ["1", "3"]),
        (folder / "corpus.jsonl", "jsonl", ["1", "3"]),
        (squad(tmp_path / "s.json"), "squad", ["0-0"]),
        (texts(tmp_path / "own"), "folder", ["a.md#0", "a.md#1", "a.md#2", "b.txt"]),
        (tmp_path / "own" / "b.txt", "file", ["b.txt"]),
    ):
        source = open_source(path)
        assert source.kind == kind
        assert [passage.id for passage in passages(source)] == ids


def test_cutting_can_be_asked_for_and_refused(tmp_path: Path) -> None:
    assert [p.id for p in passages(open_source(beir(tmp_path / "b")), 1000, 0, cut=True)] == [
        "1#0",
        "1#1",
        "3",
    ]
    assert [p.id for p in passages(open_source(texts(tmp_path / "t")), cut=False)] == [
        "a.md",
        "b.txt",
    ]


def test_what_was_skipped_is_known_afterwards(tmp_path: Path) -> None:
    source = open_source(texts(tmp_path / "own"))
    for _ in range(2):  # a second reading counts anew
        assert len(list(source.documents())) == 2
        assert [str(one) for one in source.skipped] == ["c.txt: empty"]
    source = open_source(beir(tmp_path / "beir"))
    list(source.documents())
    assert [one.reason for one in source.skipped] == ["the document '2' is empty"]


def test_nothing_there_and_nothing_understood(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: there is no such file or directory"):
        open_source(tmp_path / "none")
    (tmp_path / "a.docx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"a\.docx: not a source .* BEIR .* \.txt .* SQuAD"):
        open_source(tmp_path / "a.docx")


def test_an_empty_source_says_what_it_passed_over(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(b"%PDF")
    with pytest.raises(
        EmptyCollectionError, match=r"no document with text .*scan\.pdf: only \.txt"
    ):
        list(open_source(tmp_path).documents())
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(EmptyCollectionError, match="no document with text in a BEIR directory"):
        list(open_source(tmp_path).documents())


def test_any_other_json_says_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(FormatError, match="not a SQuAD file"):
        list(open_source(tmp_path / "a.json").documents())


def test_importing_brings_nothing_heavy() -> None:
    code = (
        "import sys, pointsman.data, pointsman.data.sources, pointsman.data.trec;"
        "heavy = {'torch', 'pyarrow', 'lancedb', 'transformers', 'semantic_text_splitter'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
