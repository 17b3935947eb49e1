"""Where readers' answers begin and end, in characters: what they said is kept elsewhere, its place here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointsman.data.files import made_directory
from pointsman.deadline import Deadline
from pointsman.experiments.deferral.bed import Floats
from pointsman.protocols import Agent
from pointsman.trace import Cost
from pointsman.types import Answer, Passage, ReadingExample

Span = tuple[int, int]
"""The first character and the one after the last."""

_WORD = re.compile(r"\w+")
_ARTICLES = frozenset(["a", "an", "the"])


class Placed:
    """An agent that reads one passage a question; where its answers stand is kept at `path` (protocol `Agent`)."""

    def __init__(self, agent: Agent, path: Path) -> None:
        self.name = agent.name
        self._agent = agent
        self._path = path

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        """The agent's answers. Their places are kept before anyone hears of them, so none is missed."""
        given = self._agent.answer(questions, contexts, deadline)
        made_directory(self._path.parent)
        with self._path.open("a", encoding="utf-8") as file:
            for question, passages, answer in zip(questions, contexts, given, strict=True):
                line = {"key": _key(question, passages[0].text), "span": [answer.start, answer.end]}
                # On a line of its own after one that was cut off.
                file.write(f"\n{json.dumps(line)}")
        return given

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        """The agent's own."""
        return self._agent.estimate(questions, contexts)

    def spans(
        self, examples: Sequence[ReadingExample], texts: Sequence[str | None]
    ) -> list[Span | None]:
        """Where its answers `texts` [n] stand in the examples' contexts [n], None for no answer.

        Of one that was kept by a run that kept no places it is the first place of its text.
        """
        known = self._known()
        found: list[Span | None] = []
        for each, text in zip(examples, texts, strict=True):
            if text is None:
                found.append(None)
                continue
            start = each.context.find(text)
            first = None if start < 0 else (start, start + len(text))
            found.append(known.get(_key(each.question, each.context), first))
        return found

    def _known(self) -> dict[str, Span]:
        found: dict[str, Span] = {}
        if not self._path.is_file():
            return found
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                each = json.loads(line)
                start, end = each["span"]
                found[each["key"]] = int(start), int(end)
            except (ValueError, KeyError, TypeError):
                continue  # cut off, or no answer
        return found


def both_ends_at(
    examples: Sequence[ReadingExample], spans: Sequence[Sequence[Span | None]]
) -> Floats:
    """Whether each answer [n][A] begins and ends [n, A, 2] at the character where a right one does.

    Characters of words: punctuation and articles about an answer move neither of its ends, as they do not
    make it wrong.
    """
    found = np.zeros((len(examples), len(spans[0]) if spans else 0, 2))
    for i, (each, row) in enumerate(zip(examples, spans, strict=True)):
        marked = zip(each.starts, each.answers, strict=True)
        right = [_words(each.context, (start, start + len(text))) for start, text in marked]
        for j, span in enumerate(row):
            mine = None if span is None else _words(each.context, span)
            if mine is not None:
                found[i, j] = [
                    any(other is not None and mine[end] == other[end] for other in right)
                    for end in range(2)
                ]
    return found


def _words(context: str, span: Span) -> Span | None:
    """Where the first word of a span that is no article begins and the last one ends; None without any."""
    start, end = span
    words = [m for m in _WORD.finditer(context[start:end]) if m.group().lower() not in _ARTICLES]
    return (start + words[0].start(), start + words[-1].end()) if words else None


def _key(question: str, context: str) -> str:
    return hashlib.sha256(json.dumps([question, context]).encode()).hexdigest()[:24]
