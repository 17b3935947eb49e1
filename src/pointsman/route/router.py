"""Routers that look at a query's base vector: what they have in common, and those that choose one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError
from pointsman.products import product
from pointsman.protocols import Queries
from pointsman.route.pilots import Pilots, Reduce, pilot_scores
from pointsman.route.plain import BASE
from pointsman.types import FloatArray, Routing

# Queries compared with all training queries at a time: bounds memory.
_AT_ONCE = 256


class VectorRouter(ABC):
    """Scores every expert by the query's base vector and sends the query to the best (`Router`).

    A router of one's own gives `scores`; one that mixes experts gives `weights` too. The first of
    `experts` is the base, to which ties go.
    """

    def __init__(self, experts: Sequence[str]) -> None:
        if not experts or experts[0] != BASE:
            raise ConfigError(f"the first expert of a router is {BASE!r}")
        if len(set(experts)) != len(experts):
            raise ConfigError(f"two experts have one name among {', '.join(experts)}")
        self.experts = tuple(experts)

    @abstractmethod
    def scores(self, vectors: FloatArray) -> FloatArray:
        """How well each expert suits each query [n, experts]; higher is better."""

    def weights(self, scores: FloatArray) -> FloatArray:
        """What each expert's vector counts for [n, experts]: 1 for the best, ties to the first."""
        chosen = np.zeros_like(scores)
        chosen[np.arange(len(scores)), scores.argmax(axis=1)] = 1.0
        return chosen

    def seen(self, queries: Queries) -> FloatArray:
        """What of the queries is looked at: their base vectors, unless a router says otherwise."""
        return queries.vectors

    def route(self, queries: Queries) -> Routing:
        """Scores and weights of a batch of queries."""
        scores = self.scores(self.seen(queries))
        return Routing(self.experts, self.weights(scores), scores)


class PilotRouter(VectorRouter):
    """RouterRetriever (arXiv 2409.02685): the expert whose pilot embeddings are most similar.

    `reduce` "mean" is the paper's rule, "max" that of its published code.
    """

    def __init__(self, experts: Sequence[str], pilots: Pilots, reduce: Reduce = "mean") -> None:
        super().__init__(experts)
        if len(pilots) == 0:
            raise ConfigError("the pilot library is empty; build it from training queries")
        if pilots.experts.max() >= len(experts):
            raise ConfigError("the pilot library speaks of more experts than there are")
        self.pilots, self.reduce = pilots, reduce

    def scores(self, vectors: FloatArray) -> FloatArray:
        """The mean or highest similarity to an expert's pilots, -inf where it has none."""
        return pilot_scores(vectors, self.pilots, len(self.experts), self.reduce)

    def without(self, expert: str) -> PilotRouter:
        """The router after an expert is gone; nothing is trained. Raises ConfigError."""
        place = self._place(expert)
        experts = [name for name in self.experts if name != expert]
        return PilotRouter(experts, self.pilots.without(place), self.reduce)

    def _place(self, expert: str) -> int:
        if expert not in self.experts[1:]:
            known = ", ".join(self.experts[1:]) or "none"
            raise ConfigError(f"the router has no expert {expert!r} (it has: {known})")
        return self.experts.index(expert)


class KnnRouter(VectorRouter):
    """The expert with the highest mean utility over the k most similar training queries."""

    def __init__(
        self,
        experts: Sequence[str],
        vectors: FloatArray,
        utilities: npt.NDArray[np.float64],
        k: int = 16,
    ) -> None:
        super().__init__(experts)
        self._vectors, self._utilities = vectors, utilities
        self._k = min(k, len(vectors))

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Mean utilities [n, experts] of the nearest training queries."""
        found = np.empty((len(vectors), len(self.experts)), dtype=np.float32)
        for start in range(0, len(vectors), _AT_ONCE):
            similarities = product(vectors[start : start + _AT_ONCE], self._vectors.T)
            nearest = np.argpartition(-similarities, self._k - 1, axis=1)[:, : self._k]
            found[start : start + _AT_ONCE] = self._utilities[nearest].mean(axis=1)
        return found


class LinearRouter(VectorRouter):
    """One linear layer on the base vector, a score for each expert: `weight` [experts, d], `bias`."""

    def __init__(self, experts: Sequence[str], weight: FloatArray, bias: FloatArray) -> None:
        super().__init__(experts)
        self._weight, self._bias = weight, bias

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Logits, or log-odds where each expert has a classifier of its own."""
        return np.asarray(product(vectors, self._weight.T) + self._bias, dtype=np.float32)
