"""A person's folder: what becomes a document, what is passed over and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.data.documents import Skipped, read_document, read_folder
from pointsman.errors import InputError
from pointsman.types import Document


def read(root: Path) -> tuple[dict[str, Document], dict[str, str]]:
    found = list(read_folder(root))
    documents = {one.id: one for one in found if isinstance(one, Document)}
    return documents, {one.path: one.reason for one in found if isinstance(one, Skipped)}


def document(path: Path, raw: bytes) -> Document:
    path.write_bytes(raw)
    made = read_document(path)
    assert isinstance(made, Document), made
    return made


def test_a_folder_is_read_in_order_with_relative_ids(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/Y.TXT", ".hidden.txt", ".git/x.txt", "a/.x/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# Head\nsome text")
    documents, skipped = read(tmp_path)
    assert list(documents) == ["a/Y.TXT", "a/z.md", "b.txt"]
    assert [one.title for one in documents.values()] == ["Y", "Head", "b"]
    assert documents["a/z.md"].metadata == {
        "path": str(tmp_path / "a" / "z.md"),
        "source": str(tmp_path),
    }
    assert not skipped


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marks_tell_the_encoding(tmp_path: Path, encoding: str) -> None:
    made = document(tmp_path / "a.txt", "Grüße, 世界".encode(encoding))
    assert made.text == "Grüße, 世界"
    assert "encoding" not in made.metadata


def test_utf16_big_endian(tmp_path: Path) -> None:
    assert document(tmp_path / "a.txt", b"\xfe\xff" + "Grüße".encode("utf-16-be")).text == "Grüße"


@pytest.mark.parametrize(
    ("raw", "text", "encoding"),
    [
        (b"caf\xe9 \x93quoted\x94", "café “quoted”", "windows-1252"),
        (b"caf\xe9 " * 9 + b"\x81", "café " * 9 + "\x81", "latin-1"),
    ],
)
def test_a_guessed_encoding_is_noted(tmp_path: Path, raw: bytes, text: str, encoding: str) -> None:
    made = document(tmp_path / "a.txt", raw)
    assert made.text == text
    assert made.metadata["encoding"] == encoding


def test_offsets_are_those_of_the_file_opened_as_text(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    made = document(file, b"one\r\ntwo\rthree\x00"[:-1] + b"\n")
    assert made.text == file.read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("intro\n\n## The *way* ##\n# Later", "The *way*"),
        ("```\n# not this\n```\n# This", "This"),
        ("~~~\n```\n# not this\n~~~\n   # This", "This"),
        ("#hashtag\n#\n####### seven", "a"),
        ("no heading", "a"),
    ],
)
def test_the_title_is_the_first_heading_or_the_name(tmp_path: Path, text: str, title: str) -> None:
    assert document(tmp_path / "a.md", text.encode()).title == title


def test_what_gives_no_document_is_reported_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "empty.txt").write_text(" \n\t")
    (tmp_path / "image.md").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (tmp_path / "noise.txt").write_bytes(bytes(range(1, 256)) * 4)
    (tmp_path / "half.txt").write_bytes(b"\xff\xfea\x00b")
    (tmp_path / "report.pdf").write_bytes(b"%PDF")
    (tmp_path / "link.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    documents, skipped = read(tmp_path)
    assert list(documents) == ["good.txt"]
    assert skipped == {
        "empty.txt": "empty",
        "half.txt": "binary data, not text",
        "image.md": "binary data, not text",
        "link.txt": "a link to nothing",
        "noise.txt": "binary data, not text",
        "pipe.txt": "not a regular file",
        "report.pdf": "only .txt and .md files are read",
    }


def test_loops_of_links_end_and_no_folder_is_read_twice(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "x.txt").write_text("x")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a" / "self")
    (root / "again").symlink_to(root / "a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "y.txt").write_text("y")
    (root / "out").symlink_to(tmp_path / "outside")
    documents, skipped = read(root)
    assert list(documents) == ["a/x.txt", "out/y.txt"]
    assert list(skipped) == ["a/self"]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_unreadable_files_and_folders_do_not_stop_the_rest(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "shut.txt").write_text("x")
    (tmp_path / "shut.txt").chmod(0)
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    documents, skipped = read(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert list(documents) == ["good.txt"]
    assert set(skipped) == {"shut.txt", "closed"}


def test_names_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    try:
        for raw in (b"\xff.txt", b"\xfe.txt"):
            Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), raw))).write_text("x")
    except OSError:
        pytest.skip("this file system takes no such names")
    documents, skipped = read(tmp_path)
    assert list(documents) == list(skipped) == ["\ufffd.txt"]
    documents["\ufffd.txt"].metadata["path"].encode()  # type: ignore[union-attr]


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such directory"):
        list(read_folder(tmp_path / "none"))
