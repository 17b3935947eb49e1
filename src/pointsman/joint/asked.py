"""Questions with their candidates and answers: what selector and reader are trained on together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.select.task import Lists
from pointsman.types import FloatArray, Passage


@dataclass(frozen=True, eq=False)
class Asked:
    """A question, its `answers`, its candidates best first with their `relevance` [n], and the places of
    those that are known to support the answer, `supporting`.

    `cluster` names what a question must not be resampled apart from.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    passages: tuple[Passage, ...]
    relevance: FloatArray
    supporting: tuple[int, ...] = ()
    cluster: str = ""

    def first(self, count: int) -> Asked:
        """The same with no more than the first candidates."""
        return replace(
            self,
            passages=self.passages[:count],
            relevance=self.relevance[:count],
            supporting=tuple(i for i in self.supporting if i < count),
        )


def with_relevance(asked: Sequence[Asked], relevance: Sequence[FloatArray]) -> list[Asked]:
    """The same questions, their candidates of this relevance [n] each."""
    return [replace(each, relevance=own) for each, own in zip(asked, relevance, strict=True)]


def ungraded(passages: Sequence[Passage]) -> FloatArray:
    """The relevance of candidates of which no grader has said anything."""
    return np.ones(len(passages), dtype=np.float32)


def lists(asked: Sequence[Asked]) -> Lists:
    """As what a selector is trained on."""
    return Lists(
        [each.question for each in asked],
        [[passage.content for passage in each.passages] for each in asked],
        [each.relevance for each in asked],
        [[passage.title for passage in each.passages] for each in asked],
    )


def digest(asked: Sequence[Asked]) -> str:
    """Changes with whatever can be learned from questions."""
    found = hashlib.sha256()
    for each in asked:
        texts = tuple(passage.content for passage in each.passages)
        found.update(repr((each.question, each.answers, texts, each.supporting)).encode())
        found.update(each.relevance.tobytes())
    return found.hexdigest()[:20]
