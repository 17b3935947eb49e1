"""The plain choice: the first passages, in the order in which they come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.deadline import Deadline
from pointsman.errors import ConfigError
from pointsman.types import FloatArray, Passage, Selection


class TopK:
    """The first k passages (protocol `Selector`); a pipeline puts the best first."""

    def __init__(self, k: int) -> None:
        if k < 1:
            raise ConfigError(f"the reader needs at least 1 passage, not {k}")
        self.k = k

    def select(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> list[Selection]:
        """At most k passages of each question; `relevance` had its say in their order already."""
        return [Selection(np.arange(min(self.k, len(given)), dtype=np.int64)) for given in passages]
