"""The plain choice: no opinion, so that the order of retrieval stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.types import FloatArray, Passage


class Ungraded:
    """One grade for all (protocol `Grader`)."""

    grades: tuple[str, ...] = ("ungraded",)

    def grade(self, question: str, passages: Sequence[Passage]) -> FloatArray:
        """Probability 1 of the only grade, [n, 1]."""
        return np.ones((len(passages), 1), dtype=np.float32)
