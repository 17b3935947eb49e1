"""BEIR collections: what is read, what is refused and with which line, and back again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.data.beir import (
    is_beir,
    judged_queries,
    read_corpus,
    read_qrels,
    read_queries,
    splits,
    write_beir,
    write_corpus,
    write_qrels,
)
from pointsman.errors import FormatError, InputError
from pointsman.text import scrub
from pointsman.types import Document, Query


def corpus(folder: Path, *lines: str | bytes) -> Path:
    raw = [line.encode() if isinstance(line, str) else line for line in lines]
    (folder / "corpus.jsonl").write_bytes(b"\n".join(raw) + b"\n")
    return folder


def qrels(folder: Path, text: str, split: str = "test") -> Path:
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / f"{split}.tsv").write_bytes(text.encode())
    return folder


def test_reads_what_occurs_in_the_wild(tmp_path: Path) -> None:
    corpus(
        tmp_path,
        b'\xef\xbb\xbf{"_id": "a b", "title": null, "text": "one"}\r',
        "",
        '{"_id": 7, "title": "T", "text": "", "metadata": {"url": "u", "year": 1999, "deep": [1]}}',
        '{"_id": "c", "text": "bad \\ud800 \\u0000 good \\ud83d\\ude00"}',
    )
    assert list(read_corpus(tmp_path)) == [
        Document("a b", "one"),
        Document("7", "", "T", {"url": "u", "year": 1999}),
        Document("c", "bad \ufffd \ufffd good 😀"),
    ]


def test_the_corpus_is_streamed(tmp_path: Path) -> None:
    corpus(tmp_path, '{"_id": "1", "text": "x"}', "this is broken")
    assert next(read_corpus(tmp_path)).id == "1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x"}', "the field '_id' is missing"),
        ('{"_id": "2"}', "the field 'text' is missing"),
        ('{"_id": "", "text": "x"}', "the field '_id' is empty"),
        ('{"_id": true, "text": "x"}', "'_id' must be text, not true or false"),
        ('{"_id": "2", "text": null}', "'text' must be text, not null"),
        ('{"_id": "2", "title": 3, "text": "x"}', "'title' must be text, not a number"),
        ('{"_id": "1", "text": "x"}', "the id '1' stands already on line 1"),
    ],
)
def test_bad_documents_are_refused_with_their_line(tmp_path: Path, line: str, message: str) -> None:
    corpus(tmp_path, '{"_id": "1", "text": "x"}', "", line)
    with pytest.raises(FormatError, match=message) as caught:
        list(read_corpus(tmp_path))
    assert caught.value.line == 3
    assert str(caught.value).startswith(f"{tmp_path / 'corpus.jsonl'}:3: ")


def test_packed_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "1", "text": "x"}\n'))
    assert is_beir(tmp_path)
    assert [document.id for document in read_corpus(tmp_path)] == ["1"]


def test_queries_need_text_and_new_ids(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_text('{"_id": "1", "text": "who"}\n{"_id": "2", "text": " "}\n')
    with pytest.raises(FormatError, match=":2: the query '2' has no text"):
        list(read_queries(tmp_path))
    file.write_text('{"_id": "1", "text": "who"}\n{"_id": "1", "text": "what"}\n')
    with pytest.raises(FormatError, match=":2: the id '1' stands already on line 1"):
        list(read_queries(file))


@pytest.mark.parametrize(
    "header", ["", "query-id\tcorpus-id\tscore\n", "\ufeffquery-id\tcorpus-id\tscore\r\n"]
)
def test_qrels_with_and_without_header(tmp_path: Path, header: str) -> None:
    qrels(tmp_path, header + "q1\td 1\t2\r\n\nq1\td2\t0\nq2\td1\t-1\n")
    assert read_qrels(tmp_path) == {"q1": {"d 1": 2, "d2": 0}, "q2": {"d1": -1}}


def test_the_last_of_two_judgements_counts(tmp_path: Path) -> None:
    qrels(tmp_path, "q\td\t1\nq\td\t2\n")
    assert read_qrels(tmp_path) == {"q": {"d": 2}}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q d 1", "three columns with tabs"),
        ("q\td\t1\tx", "three columns with tabs"),
        ("q\t\t1", "three columns with tabs"),
        ("q\td\t0.5", "a grade is a whole number, not '0.5'"),
        ("query-id\tcorpus-id\tscore", "a grade is a whole number, not 'score'"),
    ],
)
def test_bad_rows_are_refused_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    qrels(tmp_path, f"query-id\tcorpus-id\tscore\nq\td\t1\n{row}\n")
    with pytest.raises(FormatError, match=message) as caught:
        read_qrels(tmp_path)
    assert caught.value.line == 3


def test_a_missing_part_names_those_that_are_there(tmp_path: Path) -> None:
    qrels(tmp_path, "q\td\t1\n", "train")
    qrels(tmp_path, "q\td\t1\n", "test")
    assert splits(tmp_path) == ("train", "test")
    with pytest.raises(
        InputError, match="no judgements for the part 'dev'; parts there: train, test"
    ):
        read_qrels(tmp_path, "dev")


def test_judged_queries_are_those_of_the_part(tmp_path: Path) -> None:
    queries = [Query("2", "b"), Query("1", "a"), Query("3", "c")]
    write_beir(tmp_path, [Document("d", "x")], queries, {"test": {"1": {"d": 1}, "2": {"d": 1}}})
    assert judged_queries(tmp_path)[0] == [Query("2", "b"), Query("1", "a")]
    write_qrels(tmp_path, "dev", {"9": {"d": 1}})
    with pytest.raises(
        FormatError, match=r"1 judged queries are not in queries\.jsonl, such as '9'"
    ):
        judged_queries(tmp_path, "dev")


texts = st.text(max_size=30)
ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8).filter(
    lambda text: text == text.strip()
)


@given(
    documents=st.lists(st.tuples(ids, texts, texts), unique_by=lambda row: row[0], max_size=5),
    judged=st.dictionaries(ids, st.dictionaries(ids, st.integers(-2, 5), min_size=1), max_size=4),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_written_is_read_again(
    tmp_path: Path,
    documents: list[tuple[str, str, str]],
    judged: dict[str, dict[str, int]],
) -> None:
    stored = [Document(id, text, title) for id, text, title in documents]
    write_beir(tmp_path, stored, (), {"test": judged})
    assert list(read_corpus(tmp_path)) == [
        Document(one.id, scrub(one.text), scrub(one.title)) for one in stored
    ]
    first = next(iter(judged), "")
    if first.lower() not in {"query-id", "query_id", "queryid", "qid", "query"}:
        assert read_qrels(tmp_path) == judged


def test_metadata_survives(tmp_path: Path) -> None:
    stored = [Document("a", "x", "t", {"url": "u", "year": 3, "open": True, "share": 0.5})]
    write_corpus(tmp_path, stored)
    assert list(read_corpus(tmp_path)) == stored


def test_an_id_that_would_break_the_table_leaves_the_old_table(tmp_path: Path) -> None:
    write_qrels(tmp_path, "test", {"q": {"d": 1}})
    with pytest.raises(InputError, match=r"the id 'a\\tb' cannot stand in a table"):
        write_qrels(tmp_path, "test", {"q": {"d": 2}, "a\tb": {"d": 1}})
    assert read_qrels(tmp_path) == {"q": {"d": 1}}


def test_a_directory_without_a_corpus_is_not_beir(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "x"}))
    assert not is_beir(tmp_path)
    with pytest.raises(InputError, match="there is no such file"):
        list(read_corpus(tmp_path))
