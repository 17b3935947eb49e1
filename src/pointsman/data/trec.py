"""TREC run files and qrels, as trec_eval reads them (https://github.com/usnistgov/trec_eval).

    run:     query Q0 document rank score tag
    qrels:   query 0  document grade

Fields stand apart by spaces or tabs. Ids with spaces in them occur outside TREC: a line with an id
of that kind is written with tabs, and a line that tabs cut into the right number of fields is read
by its tabs. trec_eval itself cannot take such ids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from pointsman.data.files import numbered_lines, replacing, whole_number
from pointsman.errors import FormatError, InputError
from pointsman.text import scrub
from pointsman.types import Qrels, Run


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run, best document first for each query.

    As in trec_eval only the score counts, not the order of the lines nor the rank; documents of
    equal score stand in descending order of their ids.

    Raises:
        InputError: the file is missing or unreadable.
        FormatError: a line without six fields, a score that is not finite, a document that a query
            has twice; with the line.
    """
    run: dict[str, dict[str, float]] = {}
    for line, row in numbered_lines(path):
        query, _, document, _, given, _ = _fields(
            row, 6, "query Q0 document rank score tag", path, line
        )
        try:
            score = float(given)
        except ValueError:
            raise FormatError(path, f"a score is a number, not {given!r}", line) from None
        if not math.isfinite(score):
            raise FormatError(path, f"a score must be finite, not {given}", line)
        ranked = run.setdefault(query, {})
        if document in ranked:
            reason = f"the document {document!r} stands twice for the query {query!r}"
            raise FormatError(path, reason, line)
        ranked[document] = score
    return {query: dict(_ranked(scores)) for query, scores in run.items()}


def write_run(path: str | Path, run: Run, tag: str = "pointsman") -> None:
    """Write a run, ranks from 1 by descending score, ties by descending document id.

    Scores are written so that reading gives the same floats. Nothing is replaced until all is
    written. Raises InputError for a score that is not finite, or an id or tag that cannot stand in
    a line.
    """
    with replacing(path) as file:
        for query, scores in run.items():
            for document, score in scores.items():
                if not math.isfinite(score):
                    reason = f"the score of {document!r} for the query {query!r} is {score}"
                    raise InputError(f"{reason}; a run needs finite scores")
            for rank, (document, score) in enumerate(_ranked(scores), 1):
                file.write(_line(query, "Q0", document, str(rank), repr(float(score)), tag))


def read_trec_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements; of a pair that is judged twice the last line counts.

    Raises InputError where the file is missing, FormatError for a line without four fields or a
    grade that is no whole number.
    """
    qrels: dict[str, dict[str, int]] = {}
    for line, row in numbered_lines(path):
        query, _, document, grade = _fields(row, 4, "query 0 document grade", path, line)
        qrels.setdefault(query, {})[document] = whole_number(grade, path, line)
    return qrels


def write_trec_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write judgements in their own order. Raises InputError for an id that cannot stand in a line."""
    with replacing(path) as file:
        for query, judged in qrels.items():
            for document, grade in judged.items():
                file.write(_line(query, "0", document, str(grade)))


def _ranked(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)


def _fields(row: str, count: int, names: str, path: str | Path, line: int) -> list[str]:
    fields = [field.strip() for field in row.split("\t")]
    if len(fields) != count or not all(fields):
        fields = row.split()
    if len(fields) != count:
        reason = f"{count} fields are needed ({names}), this line has {len(fields)}"
        raise FormatError(path, reason, line)
    return [scrub(field) for field in fields]


def _line(*fields: str) -> str:
    for field in fields:
        if not field or field != field.strip() or any(mark in field for mark in "\t\n\r"):
            raise InputError(f"{field!r} cannot stand in a TREC file; give it another name")
    spaced = any(len(field.split()) > 1 for field in fields)
    return scrub(("\t" if spaced else " ").join(fields)) + "\n"
