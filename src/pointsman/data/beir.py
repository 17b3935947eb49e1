"""Retrieval collections in BEIR's layout, as published with arXiv 2104.08663.

    DIR/corpus.jsonl             {"_id": …, "title": …, "text": …, "metadata": {…}}
    DIR/queries.jsonl            {"_id": …, "text": …}
    DIR/qrels/{train,dev,test}.tsv    query-id, corpus-id, score, with or without a header row

Each file may also be packed as `.gz`. Corpus and queries are streamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pointsman.data.files import (
    Unique,
    dump,
    id_of,
    json_lines,
    numbered_lines,
    replacing,
    text_of,
    whole_number,
)
from pointsman.errors import FormatError, InputError
from pointsman.text import scrub
from pointsman.types import Document, Qrels, Query

SPLITS = ("train", "dev", "test")
_HEADERS = {"query-id", "query_id", "queryid", "qid", "query"}


def is_beir(path: str | Path) -> bool:
    """Whether `path` is a directory with a BEIR corpus in it."""
    return Path(path).is_dir() and _find(Path(path) / "corpus.jsonl").is_file()


def read_corpus(path: str | Path) -> Iterator[Document]:
    """Stream the documents of a BEIR directory, or of one corpus file.

    A document may have a title alone (the text is then ""). Scalar entries of `metadata` are kept.

    Raises:
        InputError: the file is missing or unreadable.
        FormatError: bad JSON, no `_id` or `text`, an id that stood before; with the line.
    """
    file = _find(Path(path) / "corpus.jsonl") if Path(path).is_dir() else Path(path)
    unique = Unique(file)
    for line, item in json_lines(file):
        id = id_of(item, "_id", file, line)
        unique.add(id, line)
        title = text_of(item, "title", file, line) if item.get("title") is not None else ""
        given = item.get("metadata")
        metadata = {
            scrub(key): scrub(value) if isinstance(value, str) else value
            for key, value in (given.items() if isinstance(given, dict) else ())
            if isinstance(value, str | int | float | bool)
        }
        yield Document(id, text_of(item, "text", file, line), title, metadata)


def read_queries(path: str | Path) -> Iterator[Query]:
    """Stream the queries of a BEIR directory, or of one queries file.

    Raises:
        InputError: the file is missing or unreadable.
        FormatError: bad JSON, no `_id` or `text`, an empty query, an id that stood before.
    """
    file = _find(Path(path) / "queries.jsonl") if Path(path).is_dir() else Path(path)
    unique = Unique(file)
    for line, item in json_lines(file):
        id = id_of(item, "_id", file, line)
        unique.add(id, line)
        text = text_of(item, "text", file, line)
        if not text.strip():
            raise FormatError(file, f"the query {id!r} has no text", line)
        yield Query(id, text)


def splits(path: str | Path) -> tuple[str, ...]:
    """The parts that a BEIR directory has judgements for, train first."""
    return tuple(split for split in SPLITS if _qrels(path, split).is_file())


def read_qrels(path: str | Path, split: str = "test") -> dict[str, dict[str, int]]:
    """Read one part's judgements: query id -> document id -> grade.

    Where a pair is judged twice the last line counts, as in every reader that fills a table;
    published sets do contain such pairs.

    Raises:
        InputError: the part does not exist; the message names those that do.
        FormatError: a row that is not three columns, or a grade that is no whole number.
    """
    file = _qrels(path, split)
    if not file.is_file():
        there = ", ".join(splits(path)) or "none"
        raise InputError(f"{file}: no judgements for the part {split!r}; parts there: {there}")
    qrels: dict[str, dict[str, int]] = {}
    header_possible = True
    for line, row in numbered_lines(file):
        fields = [field.strip() for field in row.split("\t")]
        if header_possible and fields[0].lower() in _HEADERS:
            header_possible = False
            continue
        header_possible = False
        if len(fields) != 3 or not fields[0] or not fields[1]:
            reason = "three columns with tabs between them are needed: query-id, corpus-id, score"
            raise FormatError(file, reason, line)
        query, document, grade = (scrub(field) for field in fields)
        qrels.setdefault(query, {})[document] = whole_number(grade, file, line)
    return qrels


def judged_queries(path: str | Path, split: str = "test") -> tuple[list[Query], Qrels]:
    """The queries of one part, in the file's order, and its judgements.

    Raises FormatError where a query is judged that `queries.jsonl` does not hold.
    """
    qrels = read_qrels(path, split)
    queries = [query for query in read_queries(path) if query.id in qrels]
    if missing := qrels.keys() - {query.id for query in queries}:
        reason = f"{len(missing)} judged queries are not in queries.jsonl, such as {min(missing)!r}"
        raise FormatError(_qrels(path, split), reason)
    return queries, qrels


def write_corpus(path: str | Path, documents: Iterable[Document]) -> None:
    """Write `corpus.jsonl` into the directory `path`, replacing one that is there when all is written."""
    with replacing(Path(path) / "corpus.jsonl") as file:
        for document in documents:
            item: dict[str, object] = {
                "_id": document.id,
                "title": document.title,
                "text": document.text,
            }
            if document.metadata:
                item["metadata"] = dict(document.metadata)
            file.write(dump(item) + "\n")


def write_queries(path: str | Path, queries: Iterable[Query]) -> None:
    """Write `queries.jsonl` into the directory `path`."""
    with replacing(Path(path) / "queries.jsonl") as file:
        for query in queries:
            file.write(dump({"_id": query.id, "text": query.text}) + "\n")


def write_qrels(path: str | Path, split: str, qrels: Qrels) -> None:
    """Write `qrels/SPLIT.tsv` into the directory `path`, with BEIR's header row.

    Raises InputError for an id with a tab or a line end in it, or space around it.
    """
    with replacing(_qrels(path, split)) as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for query, judged in qrels.items():
            for document, grade in judged.items():
                file.write("\t".join((_cell(query), _cell(document), str(grade))) + "\n")


def write_beir(
    path: str | Path,
    documents: Iterable[Document],
    queries: Iterable[Query] = (),
    qrels: Mapping[str, Qrels] | None = None,
) -> None:
    """Write a whole collection; `qrels` maps each part (train, dev, test) to its judgements."""
    write_corpus(path, documents)
    write_queries(path, queries)
    for split, judged in (qrels or {}).items():
        write_qrels(path, split, judged)


def _find(file: Path) -> Path:
    packed = file.with_name(file.name + ".gz")
    return packed if packed.is_file() and not file.is_file() else file


def _qrels(path: str | Path, split: str) -> Path:
    return _find(Path(path) / "qrels" / f"{split}.tsv")


def _cell(id: str) -> str:
    if id != id.strip() or not id or any(mark in id for mark in "\t\n\r"):
        raise InputError(f"the id {id!r} cannot stand in a table of columns; give it another")
    return scrub(id)
