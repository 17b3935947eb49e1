"""How well ordered classes are told apart, with intervals that resample groups.

Every measure is a function of confusion matrices [..., G, G], counts with a row for each true and a
column for each predicted class, and gives an array [...]. So a resample is a sum of the groups'
matrices, and thousands of them are one product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError, InputError
from pointsman.evaluate.groups import numbered
from pointsman.evaluate.significance import sign_patterns

_Array = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]
Statistic = Callable[[_Array], _Array]
"""Confusion matrices [..., G, G] to a number of each [...]."""

_CHUNK = 1 << 21  # draws at once: tens of megabytes


def confusion(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> _Integers:
    """Counts [G, G] of true labels (rows) and predictions (columns), both [n], of `classes` = G.

    Raises InputError where they are empty, of different lengths or no classes from 0 to G - 1,
    ConfigError for fewer than two classes.
    """
    cells = _cells(labels, "predictions", predictions, classes)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def accuracy(confusions: npt.ArrayLike) -> _Array:
    """The share of predictions that are right."""
    counts = _matrices(confusions)
    return np.asarray(np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1)))


def macro_f1(confusions: npt.ArrayLike) -> _Array:
    """The mean over all G classes of F1 = 2 · right / (labelled + predicted).

    A class that is neither labelled nor predicted counts as 0, so that systems and resamples are
    compared over the same classes.
    """
    counts = _matrices(confusions)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    seen = counts.sum(axis=-1) + counts.sum(axis=-2)
    return np.asarray((2 * right / np.maximum(seen, 1)).mean(axis=-1))


def quadratic_kappa(confusions: npt.ArrayLike) -> _Array:
    """Cohen's weighted kappa 1 - Σ w·o / Σ w·e with w = (i - j)² (Cohen 1968).

    o are the counts, e those that labels and predictions with the same totals would give by chance.
    It is 0 where all of both are one class: nothing beyond chance can be seen.
    """
    counts = _matrices(confusions)
    ranks = np.arange(counts.shape[-1])
    weights = (ranks[:, None] - ranks) ** 2
    by_chance = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    observed = (weights * counts).sum(axis=(-2, -1)) * counts.sum(axis=(-2, -1))
    expected = (weights * by_chance).sum(axis=(-2, -1))
    return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), 0.0)


@dataclass(frozen=True, slots=True)
class Resampled:
    """A statistic of one system, or its difference a - b between two, over `n` in `groups` groups.

    `low` and `high` are NaN where there is a single group. `p_value`, of two systems only, is the
    two-sided one of no difference.
    """

    value: float
    low: float
    high: float
    n: int
    groups: int
    p_value: float | None = None


def bootstrap(
    statistic: Statistic,
    labels: npt.ArrayLike,
    predictions_a: npt.ArrayLike,
    predictions_b: npt.ArrayLike | None = None,
    *,
    classes: int,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> Resampled:
    """A statistic of confusion matrices with its percentile interval over resampled groups.

    `labels` and predictions are [n] of `classes` classes; `groups` [n], such as the question of a
    pair, are drawn whole; without them every example is its own. With `predictions_b` the
    difference is measured on the same resamples, and p is that of the paired randomisation test of
    `significance.paired_randomisation`: a group's predictions are exchanged between the systems as
    a whole, in every way where at most 16 groups differ.

    Raises InputError as `confusion` does and for groups of another length, ConfigError for a level
    outside (0, 1) or fewer than one sample.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, for example 0.95, not {level}")
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, not {samples}")
    first = _by_group(_cells(labels, "predictions_a", predictions_a, classes), groups, classes)
    systems, p_value = [first], None
    if predictions_b is not None:
        cells = _cells(labels, "predictions_b", predictions_b, classes)
        systems.append(_by_group(cells, groups, classes))
        p_value = _exchanged(statistic, systems[0], systems[1], samples, seed)

    def measured(weights: _Array) -> _Array:
        one, *other = (_weighted(statistic, weights, counts) for counts in systems)
        return one - other[0] if other else one

    units = len(first)
    low = high = math.nan
    if units > 1:
        drawn = [measured(weights) for weights in _resamples(units, samples, seed)]
        bounds = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
        low, high = map(float, bounds)
    value = float(measured(np.ones((1, units)))[0])
    return Resampled(value, low, high, int(first.sum()), units, p_value)


def _exchanged(statistic: Statistic, a: _Array, b: _Array, samples: int, seed: int) -> float:
    """The two-sided p-value of no difference between counts `a` and `b` [groups, G, G]."""
    # Exchanging changes the sign of half the difference and leaves the half sum.
    middle, half = (a + b).sum(axis=0) / 2, (a - b) / 2
    half = half[(half != 0).any(axis=(1, 2))]
    observed = abs(float(statistic(a.sum(axis=0)) - statistic(b.sum(axis=0))))
    exact, patterns = sign_patterns(len(half), samples, seed)
    count = total = 0
    for signs in patterns:
        moved = np.tensordot(signs, half, axes=1)
        differences = np.abs(statistic(middle + moved) - statistic(middle - moved))
        # Assignments that tie with the observed one must count, whatever the order of summation.
        count += int((differences >= observed - 1e-10).sum())
        total += len(signs)
    return count / total if exact else (count + 1) / (total + 1)


def _weighted(statistic: Statistic, weights: _Array, counts: _Array) -> _Array:
    """The statistic [samples] where each group counts `weights` [samples, groups] times."""
    return statistic(np.tensordot(weights, counts, axes=1))


def _resamples(units: int, samples: int, seed: int) -> Iterator[_Array]:
    """How often each of `units` groups is drawn [some, units], chunk by chunk."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // units)
    for start in range(0, samples, rows):
        size = min(rows, samples - start)
        drawn = generator.integers(0, units, size=(size, units))
        drawn += np.arange(size)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=size * units)
        yield counts.reshape(size, units).astype(np.float64)


def _by_group(cells: _Integers, groups: Sequence[Hashable] | None, classes: int) -> _Array:
    """Each group's confusion matrix [groups, G, G]."""
    names = range(len(cells)) if groups is None else groups
    if len(names) != len(cells):
        raise InputError(
            f"there are {len(cells)} labels but {len(names)} groups: name one for each label"
        )
    which = numbered(names)
    size = int(which.max(initial=-1)) + 1
    counts = np.bincount(which * classes**2 + cells, minlength=size * classes**2)
    return counts.reshape(size, classes, classes).astype(np.float64)


def _cells(labels: npt.ArrayLike, name: str, predictions: npt.ArrayLike, classes: int) -> _Integers:
    """Each example's place [n] in a confusion matrix written row by row."""
    if classes < 2:
        raise ConfigError(f"classes must be at least 2, not {classes}")
    true, predicted = np.asarray(labels), np.asarray(predictions)
    if true.ndim != 1 or true.shape != predicted.shape or len(true) == 0:
        raise InputError(
            f"labels {true.shape} and {name} {predicted.shape} must both be of shape [n], n >= 1"
        )
    for what, values in (("labels", true), (name, predicted)):
        if not np.isin(values, np.arange(classes)).all():
            raise InputError(f"{what} must be classes from 0 to {classes - 1}")
    return true.astype(np.int64) * classes + predicted.astype(np.int64)


def _matrices(confusions: npt.ArrayLike) -> _Array:
    counts = np.asarray(confusions, dtype=np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise InputError(f"confusion matrices are of shape [..., G, G], not {counts.shape}")
    if not (counts.sum(axis=(-2, -1)) > 0).all():
        raise InputError("a confusion matrix without counts has no measure")
    return counts
