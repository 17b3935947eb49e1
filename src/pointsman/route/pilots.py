"""The pilot library of RouterRetriever (arXiv 2409.02685, section 3): grouping, centroids, scores.

Experts are numbered; number 0 is the base, so that whatever ties goes to the base. Every function
here takes and gives arrays: n queries, e experts, d dimensions, p pilots.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError
from pointsman.products import product
from pointsman.types import FloatArray

Reduce = Literal["mean", "max"]
IntArray = npt.NDArray[np.int64]

# Utilities that differ by less are the same; sums of nDCG's terms are not exact.
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Pilots:
    """Pilot embeddings: `vectors` [p, d], and the expert that each speaks for, `experts` [p]."""

    vectors: FloatArray
    experts: IntArray

    def __len__(self) -> int:
        return len(self.vectors)

    def without(self, expert: int) -> Pilots:
        """The library after an expert is gone; those behind it move up by one."""
        kept = self.experts != expert
        experts = self.experts[kept]
        return Pilots(self.vectors[kept], experts - (experts > expert))


def best_experts(utilities: npt.NDArray[np.float64]) -> IntArray:
    """The best expert of each instance [n] by `utilities` [n, e]; the first of several equal ones."""
    best = utilities.max(axis=1, keepdims=True)
    return np.asarray((utilities >= best - _SAME).argmax(axis=1), dtype=np.int64)


def make_pilots(
    sets: Sequence[tuple[FloatArray, npt.NDArray[np.float64]]], k: int = 1, seed: int = 0
) -> Pilots:
    """A pilot library from each training set's query vectors [n, d] and utilities [n, e].

    Within each set instances are grouped by their best expert, and every group gives the centroids
    of its k-means clusters: up to k · e pilots a set. A group smaller than k gives one pilot an
    instance. Raises ConfigError for a k below 1.
    """
    if k < 1:
        raise ConfigError(f"a group has at least 1 pilot, not {k}")
    vectors: list[FloatArray] = []
    experts: list[int] = []
    for queries, utilities in sets:
        best = best_experts(utilities)
        for expert in np.unique(best).tolist():
            found = centroids(queries[best == expert], k, seed)
            vectors += list(found)
            experts += [expert] * len(found)
    if not vectors:
        raise ConfigError("there are no training queries to make pilots of")
    return Pilots(np.stack(vectors), np.array(experts, dtype=np.int64))


def centroids(vectors: FloatArray, k: int, seed: int = 0) -> FloatArray:
    """Centroids [at most k, d] of the k-means clusters of `vectors` [n, d]."""
    if len(vectors) <= k:
        return np.asarray(vectors, dtype=np.float32)
    if k == 1:
        return np.asarray(vectors.mean(axis=0, keepdims=True), dtype=np.float32)
    from scipy.cluster.vq import kmeans2

    with warnings.catch_warnings():  # of a cluster that lost its last member: it is left out below
        warnings.simplefilter("ignore", UserWarning)
        found, labels = kmeans2(vectors.astype(np.float64), k, minit="++", seed=seed)
    return np.asarray(found[np.unique(labels)], dtype=np.float32)


def pilot_scores(
    queries: FloatArray, pilots: Pilots, experts: int, reduce: Reduce = "mean"
) -> FloatArray:
    """How similar each query is to each expert's pilots [n, experts]; -inf where it has none.

    "mean" over an expert's pilots is the paper's rule, "max" what its published code does. The
    similarity is the dot product with the centroid as it is, as there: a scattered group's centroid
    is short, and draws less.
    """
    if reduce not in ("mean", "max"):
        raise ConfigError(f"pilots are reduced by mean or max, not {reduce!r}")
    scores = np.full((len(queries), experts), -np.inf, dtype=np.float32)
    similarities = product(queries, pilots.vectors.T)
    for expert in np.unique(pilots.experts).tolist():
        its = similarities[:, pilots.experts == expert]
        scores[:, expert] = its.mean(axis=1) if reduce == "mean" else its.max(axis=1)
    return scores
