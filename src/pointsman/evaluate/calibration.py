"""Do probabilities mean what they say: calibration errors, proper scores, risk against coverage.

`confidence` [n] is the probability given to being right, `correct` [n] is 1 where it was, 0 where
it was not; a share in between, such as F1, is allowed. All functions raise InputError for arrays
that are empty, of different lengths, not finite or outside [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError, InputError

_Array = npt.NDArray[np.float64]
# What probability 0 counts as in a logarithm, so that one certain mistake does not hide the rest.
_SMALLEST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """A reliability diagram: size, mean confidence and accuracy of each bin [bins].

    An empty bin has size 0 and NaN in the other two.
    """

    size: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]

    @property
    def error(self) -> float:
        """Σ_m |B_m| / n · |accuracy(B_m) - confidence(B_m)|."""
        gap = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.size * gap).sum() / self.size.sum())


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """The error rate `risk` [n] among the share `coverage` [n] answered most confidently."""

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]

    @property
    def area(self) -> float:
        """AURC, the mean risk over all coverages 1/n, 2/n, …, 1; lower is better."""
        return float(self.risk.mean())


def reliability(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15, adaptive: bool = False
) -> Reliability:
    """Confidence and accuracy by bin.

    Bins of equal width are ((m - 1) / bins, m / bins], m = 1 … bins, 0 in the first (Guo et al.
    2017, section 2). Adaptive ones hold equally many, up to one; equal confidences are never put in
    different bins, so the order of the input does not matter (Nguyen & O'Connor 2015, section 3).
    """
    if bins < 1:
        raise ConfigError(f"bins must be at least 1, not {bins}")
    confidence, correct = _pair(confidence, correct)
    if adaptive:
        lower = np.searchsorted(np.sort(confidence), confidence)
        bin_of = lower * bins // len(confidence)
    else:
        # Compared with the edges themselves: confidence * bins would round some of them over.
        bin_of = np.searchsorted(np.arange(1, bins + 1) / bins, confidence)
    size = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            size=size,
            confidence=np.bincount(bin_of, weights=confidence, minlength=bins) / size,
            accuracy=np.bincount(bin_of, weights=correct, minlength=bins) / size,
        )


def ece(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017, equation 3)."""
    return reliability(confidence, correct, bins).error


def adaptive_ece(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass (binning of Nguyen & O'Connor 2015)."""
    return reliability(confidence, correct, bins, adaptive=True).error


def brier(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean squared distance between probabilities and what happened (Brier 1950).

    Of one event: `probabilities` [n] and `labels` [n] 0 or 1, mean of (p - y)², in [0, 1]. Of
    several classes: `probabilities` [n, classes] and `labels` [n] class numbers, mean of
    Σ_c (p_c - [y = c])², in [0, 2].
    """
    given = _array("probabilities", probabilities)
    if given.ndim == 1:
        given, happened = _pair(given, labels)
        return float(((given - happened) ** 2).mean())
    given, classes = _classes(given, labels)
    return float(((given - np.eye(given.shape[1])[classes]) ** 2).sum(axis=1).mean())


def nll(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean negative log-likelihood in nats (Guo et al. 2017, equation 5); shapes as in `brier`.

    A probability of 0 for what happened counts as 2.2e-16, that is, 36 nats.
    """
    given = _array("probabilities", probabilities)
    if given.ndim == 1:
        given, happened = _pair(given, labels)
        return float(-(happened * _log(given) + (1 - happened) * _log(1 - given)).mean())
    given, classes = _classes(given, labels)
    return float(-_log(given[np.arange(len(given)), classes]).mean())


def top_label(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Confidence [n] and correctness [n] of the likeliest class, from [n, classes] and labels [n]."""
    given, classes = _classes(_array("probabilities", probabilities), labels)
    return given.max(axis=1), (given.argmax(axis=1) == classes).astype(np.float64)


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """Risk at every coverage when the least confident are left unanswered first.

    risk(i / n) is the mean of 1 - correct over the i most confident (El-Yaniv & Wiener 2010; its
    area: Geifman, Uziel & El-Yaniv 2019). Equally confident ones enter in random order: each
    counts with their mean, the expectation over orders.
    """
    confidence, correct = _pair(confidence, correct)
    values, group = np.unique(-confidence, return_inverse=True)
    size = np.bincount(group, minlength=len(values))
    errors = np.repeat(np.bincount(group, weights=1 - correct) / size, size)
    answered = np.arange(1, len(errors) + 1)
    return RiskCoverage(coverage=answered / len(errors), risk=np.cumsum(errors) / answered)


def _log(probability: _Array) -> _Array:
    return np.log(np.clip(probability, _SMALLEST, 1.0))


def _array(name: str, values: npt.ArrayLike) -> _Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"{name} must hold at least one number, not be of shape {array.shape}")
    if not ((array >= 0) & (array <= 1)).all():  # false for NaN too
        raise InputError(
            f"{name} must lie in [0, 1], not reach from {array.min():g} to {array.max():g}"
        )
    return array


def _pair(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[_Array, _Array]:
    first, second = _array("confidence", confidence), _array("correct", correct)
    if first.ndim != 1 or first.shape != second.shape:
        raise InputError(
            f"confidence {first.shape} and correct {second.shape} must both be of shape [n]"
        )
    return first, second


def _classes(probabilities: _Array, labels: npt.ArrayLike) -> tuple[_Array, npt.NDArray[np.int64]]:
    classes = np.asarray(labels)
    if probabilities.ndim != 2 or classes.shape != probabilities.shape[:1]:
        raise InputError(
            f"probabilities {probabilities.shape} must be of shape [n, classes] and labels "
            f"{classes.shape} of shape [n]"
        )
    if not np.isin(classes, np.arange(probabilities.shape[1])).all():
        raise InputError(
            f"labels must be class numbers from 0 to {probabilities.shape[1] - 1}, as many as "
            "probabilities has columns"
        )
    return probabilities, classes.astype(np.int64)
