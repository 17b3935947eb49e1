"""The plain choice: the most relevant passages, in the order of retrieval where that ties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError
from pointsman.types import FloatArray, Passage


class TopK:
    """The k passages of the highest relevance (protocol `Selector`)."""

    def __init__(self, k: int) -> None:
        if k < 1:
            raise ConfigError(f"the reader needs at least 1 passage, not {k}")
        self.k = k

    def select(
        self, question: str, passages: Sequence[Passage], relevance: FloatArray
    ) -> npt.NDArray[np.int64]:
        """Indices of at most k passages; `relevance` is [n]."""
        order = np.argsort(-relevance, kind="stable")[: self.k]
        return np.asarray(order, dtype=np.int64)
