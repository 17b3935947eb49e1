"""The plain choice: the first passages, in the order in which they come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError
from pointsman.types import FloatArray, Passage


class TopK:
    """The first k passages (protocol `Selector`); a pipeline puts the best first."""

    def __init__(self, k: int) -> None:
        if k < 1:
            raise ConfigError(f"the reader needs at least 1 passage, not {k}")
        self.k = k

    def select(
        self, question: str, passages: Sequence[Passage], relevance: FloatArray
    ) -> npt.NDArray[np.int64]:
        """Indices of at most k passages; `relevance` [n] had its say in their order already."""
        return np.arange(min(self.k, len(passages)), dtype=np.int64)
