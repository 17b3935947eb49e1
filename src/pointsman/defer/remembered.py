"""What was computed of questions, kept: on its way one comes to an allocator once for every agent asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

K = TypeVar("K", bound=Hashable)

Rows = npt.NDArray[np.floating[Any]]


class Remembered(Generic[K]):
    """A row of numbers for each key; all are forgotten when there are more than `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[K, Rows] = {}

    def __call__(self, keys: Sequence[K], compute: Callable[[list[K]], Rows]) -> Rows:
        """The rows of the keys [n, ...], computed together where they are new. There is at least one key."""
        if len(self._rows) > self._most:
            self._rows = {}
        new = list(dict.fromkeys(key for key in keys if key not in self._rows))
        if new:
            self._rows.update(zip(new, compute(new), strict=True))
        return np.stack([self._rows[key] for key in keys])
