"""What all graders share that look at one question and one passage at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pointsman.deadline import Deadline
from pointsman.types import FloatArray, Graded, Passage

PairTexts = tuple[str, str]
"""A question and a passage's text."""

Judged = tuple[FloatArray, npt.NDArray[np.float64]]
"""Probabilities [n pairs, grades], lowest grade first, and what each pair took in GFLOPs [n pairs]."""


class PairwiseGrader(ABC):
    """A grader (protocol `Grader`) that judges pairs; all questions' pairs share batches."""

    @property
    @abstractmethod
    def grades(self) -> tuple[str, ...]:
        """The names of the grades, lowest first."""

    @abstractmethod
    def judged(self, pairs: Sequence[PairTexts], deadline: Deadline | None = None) -> Judged:
        """What it says of each pair, and what that took."""

    def probabilities(
        self, pairs: Sequence[PairTexts], deadline: Deadline | None = None
    ) -> FloatArray:
        """What it says of each pair [n pairs, grades]."""
        return self.judged(pairs, deadline)[0]

    def grade(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Graded]:
        """What it says of each question's passages."""
        pairs = [
            (question, passage.content)
            for question, row in zip(questions, passages, strict=True)
            for passage in row
        ]
        found, gflops = self.judged(pairs, deadline)
        ends = np.cumsum([len(row) for row in passages]).tolist()
        return [
            Graded(found[end - len(row) : end], float(gflops[end - len(row) : end].sum()))
            for row, end in zip(passages, ends, strict=True)
        ]
