"""Rows of numbers, kept: on its way a question comes to an allocator once for every agent that is asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

K = TypeVar("K", bound=Hashable)

Rows = npt.NDArray[np.floating[Any]]


class Remembered(Generic[K]):
    """A row of numbers for each key. Beyond `most` those that nobody asks about now are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[K, Rows] = {}

    def __call__(self, keys: Sequence[K], compute: Callable[[list[K]], Rows]) -> Rows:
        """The rows of the keys [n, ...], computed together where they are new. There is at least one key."""
        known = self._rows
        if len(known) > self._most:
            known = {key: known[key] for key in keys if key in known}
        new = list(dict.fromkeys(key for key in keys if key not in known))
        if new:
            known = known | dict(zip(new, compute(new), strict=True))
        # Put there as a whole: another thread that asks meanwhile finds what it had found.
        self._rows = known
        return np.stack([known[key] for key in keys])
