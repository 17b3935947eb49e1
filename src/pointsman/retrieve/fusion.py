"""Rank fusion: one ranking out of several, as pure functions of the rankings.

- Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009, eq. 1) looks at ranks alone, so
  scores of different scales need no normalising.
- Weighted score fusion (the convex combination of Bruch, Gai and Ingber, TOIS 2023) keeps the
  distances between scores, min–max normalised for each ranking.

A ranking is a sequence of (id, score), best first, each id at most once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pointsman.errors import ConfigError

Ranking = Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a dense and a BM25 ranking become one.

    The default is what dev preferred of seven ways (results/retrieval-dev.md): on the mean of seven
    sets nDCG@10 67.2, where reciprocal rank fusion has 64.7, BM25 60.8 and dense 59.3.

    `dense_weight` in [0, 1] is the weight of the dense ranking, BM25 has the rest;
    `rank_constant` ≥ 0 is k of reciprocal rank fusion and unused by "weighted".
    """

    method: Literal["rrf", "weighted"] = "weighted"
    dense_weight: float = 0.5
    rank_constant: float = 60.0

    def __post_init__(self) -> None:
        if self.method not in ("rrf", "weighted"):
            raise ConfigError(f"fusion method {self.method!r} is unknown; use 'rrf' or 'weighted'")
        if not 0.0 <= self.dense_weight <= 1.0:
            raise ConfigError(f"fusion dense_weight lies in [0, 1], not {self.dense_weight}")
        if not self.rank_constant >= 0.0:
            raise ConfigError(f"fusion rank_constant is at least 0, not {self.rank_constant}")

    def shifted(self, by: float) -> Fusion:
        """The same with the dense ranking counting so much more, between not at all and alone."""
        return replace(self, dense_weight=min(1.0, max(0.0, self.dense_weight + by)))

    def fuse(self, dense: Ranking, bm25: Ranking) -> list[tuple[str, float]]:
        """One ranking of all ids of both, best first, ties by id."""
        weights = (self.dense_weight, 1.0 - self.dense_weight)
        if self.method == "rrf":
            return reciprocal_rank_fusion((dense, bm25), weights, self.rank_constant)
        return weighted_score_fusion((dense, bm25), weights)


def reciprocal_rank_fusion(
    rankings: Sequence[Ranking], weights: Sequence[float] | None = None, constant: float = 60.0
) -> list[tuple[str, float]]:
    """score(d) = Σ_r w_r / (constant + rank_r(d)), ranks from 1; a ranking without d adds nothing.

    Without weights each is 1, which is the formula of Cormack et al. (2009). Best first, ties by id.
    """
    scores: dict[str, float] = {}
    for ranking, weight in zip(rankings, _weights(rankings, weights), strict=True):
        for rank, (id_, _) in enumerate(ranking, start=1):
            scores[id_] = scores.get(id_, 0.0) + weight / (constant + rank)
    return best_first(scores)


def weighted_score_fusion(
    rankings: Sequence[Ranking], weights: Sequence[float] | None = None
) -> list[tuple[str, float]]:
    """score(d) = Σ_r w_r · (s_r(d) − min_r) / (max_r − min_r); a ranking without d adds 0.

    Where all scores of a ranking are equal each counts as 1: being found says more than not being
    found. Without weights each is 1. Best first, ties by id.
    """
    scores: dict[str, float] = {}
    for ranking, weight in zip(rankings, _weights(rankings, weights), strict=True):
        for id_, score in min_max(ranking):
            scores[id_] = scores.get(id_, 0.0) + weight * score
    return best_first(scores)


def min_max(ranking: Ranking) -> list[tuple[str, float]]:
    """Scores moved to [0, 1], the order kept; equal scores all become 1."""
    if not ranking:
        return []
    low = min(score for _, score in ranking)
    high = max(score for _, score in ranking)
    if high == low:
        return [(id_, 1.0) for id_, _ in ranking]
    return [(id_, (score - low) / (high - low)) for id_, score in ranking]


def best_first(scores: dict[str, float]) -> list[tuple[str, float]]:
    """Highest score first; equal scores by id, so that a result is the same on every run."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def _weights(rankings: Sequence[Ranking], weights: Sequence[float] | None) -> Sequence[float]:
    return [1.0] * len(rankings) if weights is None else weights
