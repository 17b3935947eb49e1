"""Many differences on the same queries tested at once: one set of resamples serves them all.

What `significance` does for one pair of systems, for k pairs whose differences are the columns of
an array [n, k]. Drawing resamples is nearly all of the time, so a table of fifty pairs takes little
more than one pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pointsman.errors import InputError
from pointsman.evaluate.significance import Interval, sign_patterns

_Array = npt.NDArray[np.float64]


def macro_intervals(
    sets: Sequence[_Array], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> list[Interval]:
    """For every column what `macro_interval` gives: the bootstrap interval of its mean over sets.

    `sets` hold arrays [queries of the set, k]. Raises InputError where they are no such arrays.
    """
    arrays = _columns(sets)
    means = np.zeros((resamples, arrays[0].shape[1]))
    generator = np.random.default_rng(seed)
    for array in arrays:
        n = len(array)
        alike = np.full(n, 1 / n)
        for start in range(0, resamples, 256):
            size = min(256, resamples - start)
            # How often each query is drawn: a resample's mean is a product with these counts.
            counts = generator.multinomial(n, alike, size=size)
            means[start : start + size] += counts @ array / (n * len(arrays))
    bounds = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    centre = np.mean([array.mean(axis=0) for array in arrays], axis=0)
    n = sum(map(len, arrays))
    return [
        Interval(float(mean), float(low), float(high), n, len(arrays))
        for mean, low, high in zip(centre, *bounds, strict=True)
    ]


def macro_p_values(sets: Sequence[_Array], resamples: int = 10_000, seed: int = 0) -> _Array:
    """For every column [k] the p-value of `macro_randomisation`: that its mean over sets is 0.

    With one set that is the p-value of `paired_randomisation`. Raises as `macro_intervals` does.
    """
    arrays = _columns(sets)
    units = np.concatenate([array / (len(arrays) * len(array)) for array in arrays])
    units = units[(units != 0).any(axis=1)]  # an exchange of equals changes nothing
    # Assignments that tie with the observed one must count, whatever the order of summation.
    threshold = np.abs(units.sum(axis=0)) - 1e-10 * np.abs(units).sum(axis=0)
    count, total = np.zeros(units.shape[1]), 0
    exact, patterns = sign_patterns(len(units), resamples, seed)
    for signs in patterns:
        count += (np.abs(signs @ units) >= threshold).sum(axis=0)
        total += len(signs)
    return count / total if exact else (count + 1) / (total + 1)


def _columns(sets: Sequence[_Array]) -> list[_Array]:
    arrays = [np.asarray(array, dtype=np.float64) for array in sets]
    shapes = [array.shape for array in arrays]
    if not arrays or any(len(shape) != 2 or 0 in shape for shape in shapes):
        raise InputError(f"sets of queries and columns are wanted, not arrays of shapes {shapes}")
    if len({shape[1] for shape in shapes}) > 1:
        raise InputError(f"all sets need the same columns; their shapes are {shapes}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError("a difference is not finite; leave out what was not measured")
    return arrays
