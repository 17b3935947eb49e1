"""Exact nearest neighbours by cosine: one matrix product, no approximate index.

Up to a million passages on one machine a product with all vectors takes milliseconds a query; an
approximate index would save little and lose answers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pointsman.deadline import Deadline
from pointsman.products import product
from pointsman.types import FloatArray

# float32 scores held at a time: 64 MiB, whatever the number of queries.
_BLOCK = 1 << 24
# More than a float32 product of two unit vectors is ever off in practice.
_ROUNDING = 1e-5


def top_k(
    queries: FloatArray,
    vectors: FloatArray,
    k: int,
    allowed: npt.NDArray[np.bool_] | None = None,
    deadline: Deadline | None = None,
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """For each query the k best rows of `vectors` and their cosines, best first, ties by row.

    `queries` [n, d] and `vectors` [m, d] have unit norm; `allowed` [m] says which rows may be
    found. The product in float32 finds candidates, their scores are computed again in float64, so
    that a query gets the same result alone and in a batch. Raises DeadlineError.
    """
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
    available = len(vectors) if allowed is None else int(allowed.sum())
    k = min(k, available)
    if k == 0:
        return [(np.empty(0, np.int64), np.empty(0, np.float64)) for _ in queries]
    step = max(1, _BLOCK // len(vectors))
    for first in range(0, len(queries), step):
        if deadline is not None:
            deadline.check("searching the vectors")
        block = queries[first : first + step]
        scores = product(block, vectors.T)
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        for query, row in zip(block, scores, strict=True):
            kth = np.partition(row, len(row) - k)[len(row) - k]
            candidates = np.flatnonzero(row >= kth - _ROUNDING)
            exact = _cosines(query, vectors, candidates)
            order = np.lexsort((candidates, -exact))[:k]
            found.append((candidates[order], exact[order]))
    return found


def _cosines(
    query: FloatArray, vectors: FloatArray, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    # Multiply and sum row by row: unlike a matrix product it gives equal rows equal scores. In
    # pieces, because where all vectors are equal all rows are candidates.
    wide = query.astype(np.float64)
    pieces = [
        (vectors[rows[i : i + 4096]].astype(np.float64) * wide).sum(axis=1)
        for i in range(0, len(rows), 4096)
    ]
    return np.concatenate(pieces)
