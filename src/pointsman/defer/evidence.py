"""No harm without evidence: whether a gain, or what is foreseen, is more than chance makes of nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit

from pointsman.defer.logistic import Logistic

_STANDARD_ERRORS = 2.0
_PENALTY = 1e-2
# Twice what tells an agent's hard questions from its easy ones must make its record likelier (1.96 squared).
_LIKELIER = 3.84


def surely_above(gain: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64]) -> bool:
    """Whether gains [n] are above 0 by two standard errors; those of a cluster [n] come together."""
    numbers = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=gain)
    return bool(sums.mean() > _STANDARD_ERRORS * sums.std() / len(sums) ** 0.5)


def calibrated(
    outputs: npt.NDArray[np.floating], right: npt.NDArray[np.float64]
) -> tuple[float, float, bool]:
    """The slope a and the level b that make chances σ(a x + b) of an agent's outputs x [n], by how right [n],
    in [0, 1], it was; and whether there is evidence for the slope. Without any that is 0.
    """
    one = Logistic.learn(outputs[:, None], right[:, None], _PENALTY)
    slope = float(one.weights[0, 0] / one.spread[0])
    level = float(one.bias[0]) - slope * float(one.mean[0])
    mean = float(np.clip(right.mean(), 1e-3, 1 - 1e-3))
    always = float(np.log(mean / (1 - mean)))
    without = _log_likelihood(np.full(len(right), always), right)
    gained = _log_likelihood(slope * outputs + level, right) - without
    return (slope, level, True) if slope > 0 and 2 * gained > _LIKELIER else (0.0, always, False)


def _log_likelihood(logits: npt.NDArray[np.floating], right: npt.NDArray[np.float64]) -> float:
    return float((right * log_expit(logits) + (1 - right) * log_expit(-logits)).sum())
