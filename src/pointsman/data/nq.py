"""Natural Questions with one gold passage each (JSON Lines), from "Lost in the Middle", arXiv 2307.03172.

One object a line: `question`, `answers` (every accepted wording), `title`, `text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.data.files import json_lines, kind_of, text_of
from pointsman.errors import FormatError
from pointsman.text import scrub
from pointsman.types import ReadingExample


@dataclass(frozen=True, slots=True)
class OracleQuestion:
    """A question, every accepted answer, and the passage that holds one of them."""

    id: str
    question: str
    answers: tuple[str, ...]
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class OracleReading:
    """Questions turned into spans. `not_found` names those whose passage holds no accepted answer."""

    examples: tuple[ReadingExample, ...]
    not_found: tuple[str, ...]


def read_oracle(path: str | Path, ids: Mapping[str, str] | None = None) -> Iterator[OracleQuestion]:
    """Stream the questions of an oracle file.

    Args:
        path: the JSON Lines file.
        ids: question text -> id. The file has no ids, but its questions stand word for word in the
            retrieval view: `{query.text: query.id for query in read_queries(beir / "nq")}`.
            Without it, and for a question that is not there, the id is "line-N".

    Raises:
        InputError: the file is missing or unreadable.
        FormatError: bad JSON, a missing field or no answer, with the line.
    """
    for line, item in json_lines(path):
        question = text_of(item, "question", path, line)
        answers = item.get("answers")
        if not isinstance(answers, list) or not answers:
            raise FormatError(path, "the field 'answers' must be a list of texts", line)
        for answer in answers:
            if not isinstance(answer, str):
                raise FormatError(path, f"an answer must be text, not {kind_of(answer)}", line)
        yield OracleQuestion(
            id=(ids or {}).get(question, f"line-{line}"),
            question=question,
            answers=tuple(scrub(answer) for answer in answers),
            title=text_of(item, "title", path, line),
            text=text_of(item, "text", path, line),
        )


def reading_examples(questions: Iterable[OracleQuestion]) -> OracleReading:
    """Mark the answers in their passages: the first place of each wording that stands there.

    A wording is looked for as it is, then without regard to case and to which kind of space it
    has; the answer is what stands in the passage. Wordings that do not stand there are left out
    (they remain in the `OracleQuestion`). `cluster` is the passage's title, or the id without one.
    """
    examples: list[ReadingExample] = []
    not_found: list[str] = []
    for question in questions:
        spans = {
            (start, question.text[start : start + len(answer)])
            for answer in question.answers
            if (start := _find(answer, question.text)) >= 0
        }
        if not spans:
            not_found.append(question.id)
            continue
        ordered = sorted(spans)
        examples.append(
            ReadingExample(
                id=question.id,
                question=question.question,
                context=question.text,
                answers=tuple(text for _, text in ordered),
                starts=tuple(start for start, _ in ordered),
                title=question.title,
                cluster=question.title or question.id,
            )
        )
    return OracleReading(tuple(examples), tuple(not_found))


def _find(answer: str, text: str) -> int:
    if not answer.strip():
        return -1
    exact = text.find(answer)
    return exact if exact >= 0 else _fold(text).find(_fold(answer))


def _fold(text: str) -> str:
    # One character for one, so that offsets stay true: a few lower-case forms are longer.
    return "".join(
        " " if char.isspace() else low if len(low := char.lower()) == 1 else char for char in text
    )
