"""The plain choice: no opinion, so that the order of retrieval stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.deadline import Deadline
from pointsman.types import Graded, Passage


class Ungraded:
    """One grade for all (protocol `Grader`)."""

    grades: tuple[str, ...] = ("ungraded",)

    def grade(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Graded]:
        """Probability 1 of the only grade."""
        return [Graded(np.ones((len(row), 1), dtype=np.float32)) for row in passages]
