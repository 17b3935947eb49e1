"""Questions on their way to the router, and through the experts that it chose."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from pointsman.backbone.encoder import Backbone, EarlyStates
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError
from pointsman.protocols import Encoder, Queries
from pointsman.types import FloatArray, Routing


class EncodedQueries:
    """Texts, their features and their base vectors (protocol `Queries`), each computed when asked for.

    On a `Backbone` the lower layers run once, for whatever is asked of them.
    """

    def __init__(
        self, texts: Sequence[str], encoder: Encoder, deadline: Deadline | None = None
    ) -> None:
        self.texts = tuple(texts)
        self._encoder = encoder
        self._deadline = deadline

    @cached_property
    def vectors(self) -> FloatArray:
        """Unit vectors of the frozen base [n, d]."""
        if self.begun:
            return self.backbone.finish(self.states, deadline=self._deadline)
        return self._encoder.encode(self.texts, prompt="query", deadline=self._deadline)

    @cached_property
    def features(self) -> FloatArray:
        """What the lower layers tell of each text [n, width]; see `Backbone.features`."""
        return self.backbone.features(self.states)

    @cached_property
    def states(self) -> EarlyStates:
        """What the layers below every expert gave."""
        return self.backbone.begin(
            self.texts,
            layers=self.backbone.routing_layers,
            prompt="query",
            deadline=self._deadline,
        )

    @property
    def begun(self) -> bool:
        """Whether the lower layers have been run, so that `states` cost nothing."""
        return "states" in self.__dict__

    @property
    def backbone(self) -> Backbone:
        """The encoder, whose layers can be run apart. Raises ConfigError for one that shows none."""
        if not isinstance(self._encoder, Backbone):
            raise ConfigError(
                f"{type(self._encoder).__name__} shows no states of its lower layers; "
                "use a router that looks at vectors"
            )
        return self._encoder


def routed_vectors(
    encoder: Encoder, queries: Queries, routing: Routing, deadline: Deadline | None = None
) -> FloatArray:
    """Unit vectors [n, d]: each query as its experts, in their shares, give it.

    Where the lower layers were run for the router and no expert changes them, the experts' changes
    are mixed in one pass through the upper ones. Else each expert has its own pass over the
    queries that give it weight, and their vectors are mixed: all live in the documents' one space.
    """
    names, shares = routing.experts[1:], routing.weights[:, 1:]
    used = np.flatnonzero(shares.any(axis=0))
    if isinstance(queries, EncodedQueries) and queries.begun:
        backbone, states = queries.backbone, queries.states
        chosen = [names[j] for j in used.tolist()]
        if all(backbone.lowest_layer(name) >= states.layers for name in chosen):
            return backbone.finish_mixture(states, chosen, shares[:, used], deadline=deadline)
    return _mixed_vectors(encoder, queries, routing, deadline)


def _mixed_vectors(
    encoder: Encoder, queries: Queries, routing: Routing, deadline: Deadline | None
) -> FloatArray:
    """A pass for every expert; the base's vectors are those that `queries` has."""
    weights = routing.weights
    mixed = np.zeros((len(queries.texts), encoder.identity.dimension), dtype=np.float32)
    base = np.flatnonzero(weights[:, 0])
    if base.size:
        mixed[base] = weights[base, :1] * queries.vectors[base]
    rows, columns = np.nonzero(weights[:, 1:])
    if rows.size:
        texts = [queries.texts[i] for i in rows.tolist()]
        experts = [routing.experts[1 + j] for j in columns.tolist()]
        vectors = encoder.encode(texts, experts, prompt="query", deadline=deadline)
        np.add.at(mixed, rows, weights[rows, 1 + columns, None] * vectors)
    norms = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.asarray(mixed / np.maximum(norms, 1e-12), dtype=np.float32)
