"""The sample collection: short passages over five fields, and questions about them.

It is a smoke test and a demonstration; no claim about quality rests on it. The directory is in
BEIR layout (`corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`), with `answers.jsonl` beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pointsman.errors import InputError

_FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "answers.jsonl")


@dataclass(frozen=True, slots=True)
class SampleQuestion:
    """A question about the sample collection.

    Each of `answers` is an exact span of the text of the passage whose id is `passage`. A question
    that the collection cannot answer has no answers and no passage. `demo` marks the dozen that
    make a demonstration.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    passage: str | None
    demo: bool = False


def sample_directory() -> Path:
    """Where the collection lies, a BEIR directory; InputError where the installation lacks it."""
    directory = Path(str(files(__name__)))
    for name in _FILES:
        if not (directory / name).is_file():
            raise InputError(
                f"the sample collection is incomplete, {directory / name} is missing: "
                "install pointsman again"
            )
    return directory


def sample_questions() -> list[SampleQuestion]:
    """Every question in file order, the unanswerable ones last."""
    lines = (sample_directory() / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        SampleQuestion(
            id=row["_id"],
            question=row["question"],
            answers=tuple(row["answers"]),
            passage=row["passage"],
            demo=row.get("demo", False),
        )
        for row in map(json.loads, lines)
    ]
