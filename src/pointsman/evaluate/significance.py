"""How sure a difference is: bootstrap intervals and paired randomisation tests."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError, InputError
from pointsman.evaluate.groups import numbered

Values = npt.ArrayLike
_Array = npt.NDArray[np.float64]

_EXACT_UNITS = 16  # 65,536 sign patterns: cheaper than 10,000 random ones of many units
_CHUNK = 1 << 21  # random numbers drawn at once: tens of megabytes, however much is resampled


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval over `n` values in `clusters` clusters (None: no clusters).

    `low` and `high` are NaN where there is a single unit, from which no spread can be seen.
    """

    mean: float
    low: float
    high: float
    n: int
    clusters: int | None = None


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Mean of a minus mean of b over `n` pairs, and the two-sided p-value of no difference.

    `exact` says that every assignment was enumerated; else `p_value` is a Monte Carlo estimate.
    """

    difference: float
    p_value: float
    n: int
    clusters: int | None = None
    exact: bool = False


def bootstrap_interval(
    values: Values,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean of `values` [n] (Efron & Tibshirani 1993, ch. 13).

    With `clusters` [n], whole clusters are resampled and a resample's mean is the ratio of its sum
    to its size, so that a large cluster weighs as much as it does in the mean itself.

    Raises InputError for values that are empty or not finite and for clusters of another length,
    ConfigError for a level outside (0, 1) or fewer than one resample.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, for example 0.95, not {level}")
    _check_resamples(resamples)
    array = _vector("values", values)
    sums, sizes = _by_cluster(array, clusters)
    low = high = math.nan
    if len(sums) > 1:
        means = np.empty(resamples)
        generator = np.random.default_rng(seed)
        equal = bool((sizes == sizes[0]).all())
        for chunk in _chunks(resamples, len(sums)):
            drawn = generator.integers(0, len(sums), size=(chunk.stop - chunk.start, len(sums)))
            size = len(array) if equal else sizes[drawn].sum(axis=1)
            means[chunk] = sums[drawn].sum(axis=1) / size
        low, high = map(float, np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(float(array.mean()), low, high, len(array), _count(sums, clusters))


def paired_randomisation(
    a: Values,
    b: Values,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Two-sided paired randomisation test of equal means of `a` and `b` [n] (Fisher 1935).

    Under the null hypothesis the two systems could be exchanged in every pair, that is, every
    difference could have the other sign; with `clusters` [n] they are exchanged in whole clusters.
    p is the share of assignments whose difference of means is at least as large as the one seen.
    Where at most 16 units differ at all, every assignment is enumerated; else p is
    (count + 1) / (resamples + 1) over random ones, which keeps the test valid (Phipson & Smyth 2010).

    Raises InputError for values that are empty, not finite or of different lengths, ConfigError
    for fewer than one resample.
    """
    _check_resamples(resamples)
    first, second = _vector("a", a), _vector("b", b)
    if len(first) != len(second):
        raise InputError(
            f"a has {len(first)} values and b {len(second)}: a paired test needs the two systems' "
            "scores of the same questions, in the same order"
        )
    sums, _ = _by_cluster(first - second, clusters)
    units = sums[sums != 0]  # an exchange of equals changes nothing, so it needs no sign
    p_value, exact = _sign_test(units, resamples, seed)
    return PairedTest(
        difference=float(first.mean() - second.mean()),
        p_value=p_value,
        n=len(first),
        clusters=_count(sums, clusters),
        exact=exact,
    )


def macro_interval(
    sets: Sequence[Values], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean over sets of each set's mean over its queries.

    Queries are resampled within their set, the sets stay: it says how sure the macro mean of these
    sets is, not of others. `clusters` of the result is the number of sets. Raises as
    `bootstrap_interval` does, and InputError where there is no set.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, for example 0.95, not {level}")
    _check_resamples(resamples)
    arrays = _sets("values", sets)
    means = np.zeros(resamples)
    generator = np.random.default_rng(seed)
    for array in arrays:
        for chunk in _chunks(resamples, len(array)):
            drawn = generator.integers(0, len(array), size=(chunk.stop - chunk.start, len(array)))
            means[chunk] += array[drawn].mean(axis=1) / len(arrays)
    low, high = map(float, np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    mean = float(np.mean([array.mean() for array in arrays]))
    return Interval(mean, low, high, sum(map(len, arrays)), len(arrays))


def macro_randomisation(
    a: Sequence[Values], b: Sequence[Values], resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """The paired randomisation test of the difference between two systems' means over sets.

    `a` and `b` hold each set's scores of the same queries in the same order. A query's pair can be
    exchanged on its own and weighs 1 / (sets · queries of its set). Raises as `paired_randomisation`.
    """
    _check_resamples(resamples)
    first, second = _sets("a", a), _sets("b", b)
    if [len(each) for each in first] != [len(each) for each in second]:
        raise InputError("a and b must hold the same sets with the same queries, in the same order")
    differences = [x - y for x, y in zip(first, second, strict=True)]
    weighted = np.concatenate([each / (len(differences) * len(each)) for each in differences])
    p_value, exact = _sign_test(weighted[weighted != 0], resamples, seed)
    return PairedTest(float(weighted.sum()), p_value, len(weighted), len(differences), exact)


def _sets(name: str, sets: Sequence[Values]) -> list[_Array]:
    if len(sets) == 0:
        raise InputError(f"{name} holds no set")
    return [_vector(f"{name}[{i}]", values) for i, values in enumerate(sets)]


def _sign_test(units: _Array, resamples: int, seed: int) -> tuple[float, bool]:
    """The share of sign patterns whose |sum| reaches that of `units`, and whether all were tried."""
    # Assignments that tie with the observed one must count, whatever the order of summation.
    threshold = abs(float(units.sum())) - 1e-10 * float(np.abs(units).sum())
    exact, patterns = sign_patterns(len(units), resamples, seed)
    count = total = 0
    for signs in patterns:
        count += int((np.abs(signs @ units) >= threshold).sum())
        total += len(signs)
    return count / total if exact else (count + 1) / (total + 1), exact


def sign_patterns(units: int, resamples: int, seed: int) -> tuple[bool, Iterator[_Array]]:
    """Rows of signs [some, units], chunk by chunk: all there are of few units, else random ones.

    The first value says whether they are all.
    """
    exact = units <= _EXACT_UNITS
    return exact, _all_signs(units) if exact else _random_signs(units, resamples, seed)


def _all_signs(units: int) -> Iterator[_Array]:
    patterns = np.arange(2**units)[:, None] >> np.arange(units) & 1
    yield _signs(patterns)


def _random_signs(units: int, resamples: int, seed: int) -> Iterator[_Array]:
    generator = np.random.default_rng(seed)
    for chunk in _chunks(resamples, units):
        size = (chunk.stop - chunk.start, units)
        yield _signs(generator.integers(0, 2, size=size, dtype=np.int8))


def _signs(bits: npt.NDArray[np.integer]) -> _Array:
    return np.where(bits, -1.0, 1.0)


def _chunks(resamples: int, units: int) -> Iterator[slice]:
    rows = max(1, _CHUNK // units)
    for start in range(0, resamples, rows):
        yield slice(start, min(start + rows, resamples))


def _by_cluster(values: _Array, clusters: Sequence[Hashable] | None) -> tuple[_Array, _Array]:
    """Each cluster's sum and size; without clusters every value is its own."""
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise InputError(
            f"there are {len(values)} values but {len(clusters)} clusters: name one for each value"
        )
    which = numbered(clusters)
    return np.bincount(which, weights=values).astype(np.float64), np.bincount(which).astype(
        np.float64
    )


def _count(units: _Array, clusters: Sequence[Hashable] | None) -> int | None:
    return None if clusters is None else len(units)


def _vector(name: str, values: Values) -> _Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"{name} must be a non-empty list of numbers, not of shape {array.shape}")
    broken = np.flatnonzero(~np.isfinite(array))
    if len(broken):
        raise InputError(
            f"{name}[{broken[0]}] is {array[broken[0]]}; leave out what was not measured before "
            "testing it"
        )
    return array


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, not {resamples}")
