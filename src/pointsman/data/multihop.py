"""Questions that need several paragraphs (HotpotQA, 2WikiMultihopQA, MuSiQue), as JSON Lines.

One object a line: `id, question, answers[], paragraphs[{title, text, is_supporting}]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pointsman.data.files import Unique, dump, id_of, json_lines, kind_of, replacing, text_of
from pointsman.errors import FormatError
from pointsman.text import scrub
from pointsman.types import Passage


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A candidate paragraph; `is_supporting` where the answer's reasoning needs it."""

    title: str
    text: str
    is_supporting: bool


@dataclass(frozen=True, slots=True)
class MultihopQuestion:
    """A question with its candidate paragraphs, some of which together hold the answer."""

    id: str
    question: str
    answers: tuple[str, ...]
    paragraphs: tuple[Paragraph, ...]

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The paragraphs in order, with ids "QUESTION-0", "QUESTION-1", …"""
        return tuple(
            Passage(f"{self.id}-{index}", paragraph.text, paragraph.title, end=len(paragraph.text))
            for index, paragraph in enumerate(self.paragraphs)
        )


def read_multihop(path: str | Path) -> Iterator[MultihopQuestion]:
    """Stream the questions of a file.

    Raises:
        InputError: the file is missing or unreadable.
        FormatError: bad JSON, a missing field, no answer, no paragraph, an id that stood before.
    """
    unique = Unique(path)
    for line, item in json_lines(path):
        id = id_of(item, "id", path, line)
        unique.add(id, line)
        answers = []
        for answer in _list(item, "answers", path, line):
            if not isinstance(answer, str):
                raise FormatError(path, f"an answer must be text, not {kind_of(answer)}", line)
            answers.append(scrub(answer))
        paragraphs = []
        for paragraph in _list(item, "paragraphs", path, line):
            if not isinstance(paragraph, dict):
                reason = f"a paragraph must be an object, not {kind_of(paragraph)}"
                raise FormatError(path, reason, line)
            supporting = paragraph.get("is_supporting")
            if not isinstance(supporting, bool):
                raise FormatError(path, "'is_supporting' must be true or false", line)
            title, text = (text_of(paragraph, key, path, line) for key in ("title", "text"))
            paragraphs.append(Paragraph(title, text, supporting))
        question = text_of(item, "question", path, line)
        yield MultihopQuestion(id, question, tuple(answers), tuple(paragraphs))


def write_multihop(path: str | Path, questions: Iterable[MultihopQuestion]) -> None:
    """Write questions, one a line; nothing is replaced until all is written."""
    with replacing(path) as file:
        for question in questions:
            paragraphs = [
                {"title": one.title, "text": one.text, "is_supporting": one.is_supporting}
                for one in question.paragraphs
            ]
            item = {
                "id": question.id,
                "question": question.question,
                "answers": list(question.answers),
                "paragraphs": paragraphs,
            }
            file.write(dump(item) + "\n")


def _list(item: dict[str, object], key: str, path: str | Path, line: int) -> list[object]:
    value = item.get(key)
    if not isinstance(value, list) or not value:
        raise FormatError(path, f"the field {key!r} must be a list that is not empty", line)
    return value
