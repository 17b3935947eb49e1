"""What words find in a collection, fused with what vectors find, and the weight of the two on dev."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.collection.judged import Documents, Judged, qrels_of
from pointsman.evaluate.retrieval import evaluate_run
from pointsman.retrieve.fusion import Fusion, Ranking
from pointsman.retrieve.lance import LanceIndex
from pointsman.route.utility import MEASURE
from pointsman.route.words import best_dense_weight
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
        documents: Documents,
        judged: Sequence[Judged],
        queries: FloatArray,
        dense_weights: npt.NDArray[np.floating] | None = None,
    ) -> npt.NDArray[np.float64]:
        """nDCG@10 [n] of hybrid search: these rankings fused with those of the vectors [n, d].

        `dense_weights` [n] is the vectors' weight in each query's fusion; None: the usual one.
        """
        usual = np.full(len(judged), Fusion().dense_weight)
        weights = usual if dense_weights is None else dense_weights
        return self.fused(documents, judged, by_vectors(documents, queries), weights)

    def fused(
        self,
        documents: Documents,
        judged: Sequence[Judged],
        dense: Sequence[Ranking],
        dense_weights: npt.NDArray[np.floating],
    ) -> npt.NDArray[np.float64]:
        """nDCG@10 [n] of these rankings fused with others [n], each by its own weight [n]."""
        found = [
            Fusion(dense_weight=weight).fuse(dense[i], self.ranking(i, documents))
            for i, weight in enumerate(dense_weights.tolist())
        ]
        return _scores(judged, found)

    def alone(self, documents: Documents, judged: Sequence[Judged]) -> npt.NDArray[np.float64]:
        """nDCG@10 [n] of these rankings by themselves."""
        return _scores(judged, [self.ranking(i, documents) for i in range(len(judged))])

    def ranking(self, i: int, documents: Documents) -> list[tuple[str, float]]:
        """Query i's documents by id with their scores, best first."""
        there = self.rows[i] >= 0
        rows, scores = self.rows[i][there].tolist(), self.scores[i][there].tolist()
        return [(documents.ids[row], score) for row, score in zip(rows, scores, strict=True)]


def keywords(
    passages: Sequence[Passage],
    documents: Documents,
    texts: Sequence[str],
    identity: BackboneIdentity,
) -> Keywords:
    """BM25 rankings of texts over a collection's passages, whose vectors are `documents`."""
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
    return Keywords(found[0].astype(np.int64), found[1])


def weigh(
    passages: Sequence[Passage],
    documents: Documents,
    dev: Sequence[Judged],
    identity: BackboneIdentity,
    queries: FloatArray,
) -> float:
    """`dev_dense_weight` of a collection that is not indexed yet."""
    words = keywords(passages, documents, [query.text for query in dev], identity)
    return dev_dense_weight(words, documents, dev, queries)


def dev_dense_weight(
    words: Keywords, documents: Documents, dev: Sequence[Judged], queries: FloatArray
) -> float:
    """The vectors' weight that dev queries prefer in hybrid search; see `best_dense_weight`."""
    dense = by_vectors(documents, queries)
    return best_dense_weight(
        lambda weight: words.fused(documents, dev, dense, np.full(len(dev), weight))
    )


def by_vectors(documents: Documents, queries: FloatArray) -> list[Ranking]:
    """The nearest documents of each query vector [n, d] by id with their cosines, best first."""
    rows, cosines = documents.search(np.ascontiguousarray(queries, dtype=np.float32), DEPTH)
    return [
        [(documents.ids[row], cosine) for row, cosine in zip(*each, strict=True)]
        for each in zip(rows.tolist(), cosines.tolist(), strict=True)
    ]


def _scores(judged: Sequence[Judged], rankings: Sequence[Ranking]) -> npt.NDArray[np.float64]:
    # By rank, for equal scores have an order too.
    run = {
        query.id: {id: float(-rank) for rank, (id, _) in enumerate(ranking[:10])}
        for query, ranking in zip(judged, rankings, strict=True)
    }
    return evaluate_run(qrels_of(judged), run, [MEASURE])[MEASURE]
