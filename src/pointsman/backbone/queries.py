"""Questions on their way to the router: what it may look at, each computed when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from pointsman.deadline import Deadline
from pointsman.protocols import Encoder, Queries
from pointsman.types import FloatArray, Routing


class EncodedQueries:
    """Texts and their base vectors (protocol `Queries`)."""

    def __init__(
        self, texts: Sequence[str], encoder: Encoder, deadline: Deadline | None = None
    ) -> None:
        self.texts = tuple(texts)
        self._encoder = encoder
        self._deadline = deadline

    @cached_property
    def vectors(self) -> FloatArray:
        """Unit vectors of the frozen base [n, d], computed once."""
        return self._encoder.encode(self.texts, prompt="query", deadline=self._deadline)


def routed_vectors(
    encoder: Encoder, queries: Queries, routing: Routing, deadline: Deadline | None = None
) -> FloatArray:
    """Unit vectors [n, d]: each query's mixture of the vectors that its experts give it.

    All experts live in the documents' one space, so a mixture of vectors ranks as a mixture of
    scores does, at no cost to the search. The base's vectors are those that `queries` has; all
    others come from one call, in which every text goes through each expert that it has weight on.
    """
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
