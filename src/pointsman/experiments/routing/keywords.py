"""What words alone find: BM25 rankings of a routing set, to be fused with what vectors find."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.collection.judged import Documents, qrels_of
from pointsman.data.arrays import ArrayCache
from pointsman.evaluate.retrieval import evaluate_run
from pointsman.experiments.routing.views import View
from pointsman.retrieve.fusion import Fusion, Ranking
from pointsman.retrieve.lance import LanceIndex
from pointsman.route.utility import MEASURE
from pointsman.types import BackboneIdentity, FloatArray, Passage

# What each side gives to the fusion, as in the index's own hybrid search.
DEPTH = 100
_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Keywords:
    """The best documents of each query by BM25: `rows` [n, DEPTH] and `scores`, -1 where there are fewer."""

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]

    def hybrid(
        self,
        view: View,
        queries: FloatArray,
        dense_weights: npt.NDArray[np.floating] | None = None,
    ) -> npt.NDArray[np.float64]:
        """nDCG@10 [n] of hybrid search: these rankings fused with those of the vectors [n, d].

        `dense_weights` [n] is the vectors' weight in each query's fusion; None: the usual one.
        """
        vectors = np.ascontiguousarray(queries, dtype=np.float32)
        rows, cosines = view.documents.search(vectors, DEPTH)
        ids = view.documents.ids
        usual = np.full(len(view.judged), Fusion().dense_weight)
        weights = usual if dense_weights is None else dense_weights
        fused = []
        for i, weight in enumerate(weights.tolist()):
            dense = [(ids[row], cosines[i, j]) for j, row in enumerate(rows[i].tolist())]
            fused.append(Fusion(dense_weight=weight).fuse(dense, self._ranking(i, ids)))
        return _scores(view, fused)

    def alone(self, view: View) -> npt.NDArray[np.float64]:
        """nDCG@10 [n] of these rankings by themselves."""
        return _scores(
            view, [self._ranking(i, view.documents.ids) for i in range(len(view.judged))]
        )

    def _ranking(self, i: int, ids: Sequence[str]) -> list[tuple[str, float]]:
        there = self.rows[i] >= 0
        rows, scores = self.rows[i][there].tolist(), self.scores[i][there].tolist()
        return [(ids[row], score) for row, score in zip(rows, scores, strict=True)]


def _scores(view: View, rankings: Sequence[Ranking]) -> npt.NDArray[np.float64]:
    # By rank, for equal scores have an order too.
    run = {
        query.id: {id: float(-rank) for rank, (id, _) in enumerate(ranking[:10])}
        for query, ranking in zip(view.judged, rankings, strict=True)
    }
    return evaluate_run(qrels_of(view.judged), run, [MEASURE])[MEASURE]


def keywords(
    name: str,
    passages: Sequence[Passage],
    documents: Documents,
    texts: Sequence[str],
    identity: BackboneIdentity,
    cache: ArrayCache,
) -> Keywords:
    """BM25 rankings of texts over a set's passages, whose vectors are `documents`; kept in the cache."""

    def search() -> npt.NDArray[np.float64]:
        found = np.full((2, len(texts), DEPTH), -1.0)
        with (
            tempfile.TemporaryDirectory(prefix="pointsman-") as directory,
            LanceIndex.create(directory, identity) as index,
        ):
            for start in range(0, len(passages), _AT_ONCE):
                chunk = slice(start, start + _AT_ONCE)
                index.add(passages[chunk], documents.vectors[chunk])
            for i, hits in enumerate(index.search(None, DEPTH, text=texts)):
                found[0, i, : len(hits)] = [documents.rows[hit.passage.id] for hit in hits]
                found[1, i, : len(hits)] = [hit.score for hit in hits]
        return found

    known = (documents.digest(), list(texts), DEPTH)
    rows, scores = cache.get(f"keywords-{name}", known, search)
    return Keywords(rows.astype(np.int64), scores)
