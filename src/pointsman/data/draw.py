"""Some of many, drawn once and for all by a seed."""

from __future__ import annotations

import numpy as np


def drawn(n: int, count: int | None, seed: int = 0) -> list[int]:
    """The places of `count` out of n items, in their order; all where there are no more, or for None."""
    if count is None or count >= n:
        return list(range(n))
    chosen: list[int] = np.random.default_rng(seed).permutation(n)[:count].tolist()
    return sorted(chosen)
