"""Queries fitted to a collection, without a label: directions in which all documents differ count less.

Where documents scatter widely along a direction of the space, being similar along it says little
about relevance, as a frequent word says little (inverse document frequency is this idea for words).
A matched filter against such noise multiplies the query by the inverse of the documents' covariance
C; part of the way, C^-s, is right for vectors that were trained to be compared as they are. Both
sides whitened is arXiv 2103.15316; here documents stay as they are indexed, and the query moves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pointsman.errors import ConfigError
from pointsman.products import product
from pointsman.types import FloatArray

STRENGTH = 0.1
"""What dev gains most by where vectors alone are searched (docs/routing.md)."""

# Documents that a covariance is estimated from; more change its entries by less than a percent.
_ENOUGH = 100_000


def whitening(documents: FloatArray, strength: float = STRENGTH, floor: float = 0.1) -> FloatArray:
    """The matrix [d, d] that queries [n, d] are multiplied by: (C / c + floor · I)^-strength.

    C is the covariance of `documents` [m, d] and c its mean eigenvalue; `floor` bounds what is made
    of directions in which documents hardly differ. A collection of one document, or of equal ones,
    gives the identity.
    """
    if not 0 <= strength <= 1:
        raise ConfigError(f"the strength of whitening lies between 0 and 1, not {strength}")
    width = documents.shape[1]
    if len(documents) > _ENOUGH:
        chosen = np.random.default_rng(0).choice(len(documents), _ENOUGH, replace=False)
        documents = documents[chosen]
    centred = documents.astype(np.float64) - documents.mean(axis=0, dtype=np.float64)
    covariance = centred.T @ centred / max(1, len(documents))
    mean = np.trace(covariance) / width
    if mean < 1e-12:
        return np.eye(width, dtype=np.float32)
    values, vectors = np.linalg.eigh(covariance / mean)
    scales = (np.maximum(values, 0.0) + floor) ** -strength
    return np.asarray((vectors * scales) @ vectors.T, dtype=np.float32)


class Whitening:
    """Fits query vectors to an index (protocol `QueryFit`), whose documents may come and go.

    `documents` gives the index's version and its vectors [m, d]; the matrix is made anew when the
    version is another one.
    """

    def __init__(self, documents: Callable[[], tuple[int, FloatArray]], strength: float) -> None:
        self._documents, self._strength = documents, strength
        self._version: int | None = None
        self._matrix: FloatArray | None = None

    def fit(self, queries: FloatArray) -> FloatArray:
        """The queries [n, d] as this collection should be asked; not of unit length."""
        version, documents = self._documents()
        if self._matrix is None or version != self._version:
            self._matrix = whitening(documents, self._strength)
            self._version = version
        return np.asarray(product(queries, self._matrix), dtype=np.float32)
