"""From probabilities over grades to one relevance, and from that to an order of the candidates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pointsman.types import FloatArray


def expected_relevance(probabilities: FloatArray) -> FloatArray:
    """Relevance in [0, 1] from probabilities [n, grades]: Σ_g p_g · g / (G - 1), and 1 where G = 1."""
    grades = probabilities.shape[1]
    if grades == 1:
        return np.asarray(probabilities[:, 0], dtype=np.float32)
    return np.asarray(probabilities @ np.linspace(0.0, 1.0, grades), dtype=np.float32)


def best_first(
    relevance: npt.ArrayLike, scores: npt.ArrayLike, weight: float
) -> npt.NDArray[np.int64]:
    """The places [n] of one question's candidates by weight · relevance + (1 - weight) · score.

    `relevance` [n] is in [0, 1]; the retrieval `scores` [n] are of any scale, and brought to [0, 1] by
    the least and the greatest of them; equal ones tell nothing apart. Ties keep the order given.
    """
    given, found = np.asarray(relevance, np.float64), np.asarray(scores, np.float64)
    if not len(found):
        return np.zeros(0, dtype=np.int64)
    above, spread = found - found.min(), np.ptp(found)
    share = above / spread if spread > 0 else above
    order = np.argsort(-(weight * given + (1 - weight) * share), kind="stable")
    return np.asarray(order, dtype=np.int64)
