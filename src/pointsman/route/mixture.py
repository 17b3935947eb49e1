"""Our router: experts mixed by how familiar the query is to each of them.

A familiar query gets its domain's expert, if wanted with a share of the base. An unfamiliar one gets
the base and a little of every expert: what they all learned helps it more than what one of them did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pointsman.protocols import Queries
from pointsman.route.familiarity import Domain, Familiarity, posterior
from pointsman.route.plain import BASE
from pointsman.route.router import VectorRouter
from pointsman.route.words import dense_shift
from pointsman.types import FloatArray, Routing


@dataclass(frozen=True, slots=True)
class MixtureSettings:
    """`base` is the base's share for a familiar query. For an unfamiliar one the base counts as much
    as `base_experts` experts do; infinitely much: the query is left to it. A query is familiar below
    the distance `threshold` (1 is typical of a domain's own), gradually over `softness`. `shrinkage`
    and `own_covariance` are the distances' (`Familiarity`). Chosen by leaving each domain of the
    test bed out in turn (docs/routing.md); of values that dev cannot tell apart the careful one.
    """

    base: float = 0.0
    base_experts: float = 4.0
    threshold: float = 0.9
    softness: float = 0.05
    shrinkage: float = 0.1
    own_covariance: float = 0.9

    @classmethod
    def hybrid(cls) -> MixtureSettings:
        """For hybrid search, where on dev a little of every expert does unfamiliar queries no good."""
        return cls(base_experts=math.inf)


class MixtureRouter(VectorRouter):
    """Mixes the experts' query vectors by their domains' familiarity with the query.

    Experts come and go without training: each brings the moments of its own training queries'
    features.
    """

    def __init__(
        self, domains: Mapping[str, Domain], settings: MixtureSettings | None = None
    ) -> None:
        super().__init__([BASE, *domains])
        self.settings = settings or MixtureSettings()
        self._domains = dict(domains)
        self._familiarity = Familiarity(
            list(domains.values()), self.settings.shrinkage, self.settings.own_covariance
        )

    def seen(self, queries: Queries) -> FloatArray:
        """The lower layers' features, which are there before any expert has to be chosen."""
        return queries.features

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Minus the distance to each expert's domain; the base scores minus the threshold."""
        scores = np.empty((len(vectors), len(self.experts)), dtype=np.float32)
        scores[:, 0] = -self.settings.threshold
        scores[:, 1:] = -self._familiarity.distances(vectors)
        return scores

    def weights(self, scores: FloatArray) -> FloatArray:
        """The familiar query's mixture and the unfamiliar one's, by how familiar it is."""
        settings = self.settings
        experts = len(self.experts) - 1
        distances = -scores[:, 1:].astype(np.float64)
        nearest = distances.min(axis=1, keepdims=True)
        familiar = _sigmoid((settings.threshold - nearest) / settings.softness)
        own = (1 - settings.base) * posterior(distances, self._familiarity.width)
        alike = 1.0 / (settings.base_experts + experts)
        weights = np.empty(scores.shape)
        weights[:, :1] = familiar * settings.base
        weights[:, :1] += (1 - familiar) * (1 - experts * alike)
        weights[:, 1:] = familiar * own + (1 - familiar) * alike
        return _pruned(weights)

    def route(self, queries: Queries) -> Routing:
        """Scores and weights, and how much words should count where the experts know it."""
        routing = super().route(queries)
        own = [None, *(domain.dense_weight for domain in self._domains.values())]
        if not any(own):
            return routing
        return replace(routing, dense_shift=dense_shift(routing.weights, own))

    def without(self, expert: str) -> MixtureRouter | None:
        """The router after an expert is gone, None where it was the last one."""
        left = {name: domain for name, domain in self._domains.items() if name != expert}
        return MixtureRouter(left, self.settings) if left else None


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -60, 60))))


def _pruned(weights: np.ndarray) -> FloatArray:
    """Without what is too little to change a ranking, so that a trace names those that do."""
    kept = np.where(weights < 0.02, 0.0, weights)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True), dtype=np.float32)
