"""Groups by number: what must be resampled, held out or counted together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import numpy.typing as npt


def numbered(names: Iterable[Hashable]) -> npt.NDArray[np.int64]:
    """The number of each name [n], from 0 in the order in which they first come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
