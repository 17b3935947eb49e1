"""How much words count beside vectors, domain by domain: code wants vectors, biomedicine wants words.

Hybrid search fuses a ranking by vectors with one by words, and the best weight of the two depends on
the domain. An expert can bring its domain's weight along as it brings its moments; a query gets the
mean of its experts' weights in the shares that the router gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pointsman.types import FloatArray

USUAL = 0.5
"""The vectors' weight for the base, and for an expert that has none of its own."""
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def best_dense_weight(
    score: Callable[[float], npt.NDArray[np.float64]], usual: float = USUAL
) -> float:
    """Of WEIGHTS the one of the best mean of `score(weight)` [n], the scores of n dev queries.

    The usual weight stays unless the best one is better by more than a standard error of the mean
    difference: with few dev queries the best of seven is often the luckiest.
    """
    scores = {weight: score(weight) for weight in WEIGHTS}
    best = max(scores, key=lambda weight: float(scores[weight].mean()))
    gain = scores[best] - (scores[usual] if usual in scores else score(usual))
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return best if gain.mean() > error else usual


def dense_shift(weights: FloatArray, own: Sequence[float | None]) -> FloatArray:
    """How much more than USUAL vectors should count for each query [n].

    `weights` [n, experts] are the experts' shares, `own` their domains' weights; None is as usual.
    """
    shifts = [0.0 if each is None else each - USUAL for each in own]
    return np.asarray(weights @ np.array(shifts), dtype=np.float32)
