"""No harm without evidence: whether a gain is more than chance makes of nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_STANDARD_ERRORS = 2.0


def surely_above(gain: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64]) -> bool:
    """Whether gains [n] are above 0 by two standard errors; those of a cluster [n] come together."""
    numbers = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=gain)
    return bool(sums.mean() > _STANDARD_ERRORS * sums.std() / len(sums) ** 0.5)
