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

    def __call__(
        self, keys: Sequence[K], compute: Callable[[list[K]], tuple[Rows, Sequence[float]]]
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        """The rows of the keys [n, ...], computed together where they are new, and what that took [n]: once
        a key, nothing where its row was kept. There is at least one key.
        """
        known = self._rows
        if len(known) > self._most:
            known = {key: known[key] for key in keys if key in known}
        new = list(dict.fromkeys(key for key in keys if key not in known))
        took: dict[K, float] = {}
        if new:
            rows, each = compute(new)
            known = known | dict(zip(new, rows, strict=True))
            took = dict(zip(new, each, strict=True))
        # Put there as a whole: another thread that asks meanwhile finds what it had found.
        self._rows = known
        paid = np.array([took.pop(key, 0.0) for key in keys], dtype=np.float32)
        return np.stack([known[key] for key in keys]), paid
