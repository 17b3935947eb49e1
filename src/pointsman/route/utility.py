"""What each expert is worth for each training instance, without flattering it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pointsman.collection.judged import Documents, Judged, qrels_of
from pointsman.evaluate.retrieval import evaluate_run
from pointsman.types import FloatArray

MEASURE = "nDCG@10"


def utilities(
    documents: Documents, judged: Sequence[Judged], vectors: Sequence[FloatArray]
) -> npt.NDArray[np.float64]:
    """nDCG@10 [n, e] of n queries under e experts, whose query vectors are `vectors` (each [n, d])."""
    qrels = qrels_of(judged)
    columns = [
        evaluate_run(qrels, documents.run(judged, each), [MEASURE])[MEASURE] for each in vectors
    ]
    return np.stack(columns, axis=1)


def two_folds(n: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """A fold, 0 or 1, for each of n instances, half of them each.

    An expert ranks the queries that it was trained on better than it ever will any others. So two
    more are trained, each on one fold, and an instance's utility is that of the expert which has
    not seen it.
    """
    folds = np.arange(n) % 2
    return np.asarray(np.random.default_rng(seed).permutation(folds), dtype=np.int64)
