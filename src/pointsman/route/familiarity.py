"""How well a query fits each expert's domain: Gaussians with one covariance over query features.

A domain is the mean and covariance of its training queries' features. The domains' covariances are
pooled, as in linear discriminant analysis (Fisher 1936; Hastie et al. 2009, section 4.3), so
that a new domain needs its own two moments and no training. The squared Mahalanobis distance to
the nearest domain says whether a query is like anything that an expert was trained on (Lee et al.,
arXiv 1807.03888). n queries, e domains, d dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError
from pointsman.products import product
from pointsman.types import FloatArray

_Matrix = npt.NDArray[np.float64]

# A thousand queries pin down a covariance as well as a million do, as far as pooling goes.
_ENOUGH = 1_000


@dataclass(frozen=True, eq=False)
class Domain:
    """The moments of a domain's query vectors: `mean` [d], `covariance` [d, d], of `queries` queries."""

    mean: FloatArray
    covariance: FloatArray
    queries: int

    @classmethod
    def of(cls, vectors: FloatArray) -> Domain:
        """The moments of vectors [n, d]. Raises ConfigError where there is none."""
        if len(vectors) == 0:
            raise ConfigError("a domain needs at least one query")
        wide = vectors.astype(np.float64)
        mean = wide.mean(axis=0)
        centred = wide - mean
        covariance = centred.T @ centred / len(wide)
        return cls(mean.astype(np.float32), covariance.astype(np.float32), len(vectors))


class Familiarity:
    """Squared Mahalanobis distances to several domains under their pooled covariance.

    `shrinkage` is the share of the pooled covariance that is replaced by its mean variance in every
    direction, so that few queries, or one domain alone, still give a distance. `width` is d.
    """

    def __init__(self, domains: Sequence[Domain], shrinkage: float = 0.1) -> None:
        if not domains:
            raise ConfigError("there is no domain to be familiar with")
        self._means: _Matrix = np.stack([domain.mean for domain in domains]).astype(np.float64)
        weights = np.array([min(domain.queries, _ENOUGH) for domain in domains], dtype=np.float64)
        stacked = np.stack([domain.covariance for domain in domains]).astype(np.float64)
        pooled = np.tensordot(weights / weights.sum(), stacked, axes=1)
        width = pooled.shape[0]
        # Domains of one query each have no spread at all; any will do then.
        variance = np.trace(pooled) / width or 1.0 / width
        pooled = (1 - shrinkage) * pooled + shrinkage * variance * np.eye(width)
        self._precision: _Matrix = np.linalg.inv(pooled)
        self._squares = ((self._means @ self._precision) * self._means).sum(axis=1)
        self.width = width

    def distances(self, vectors: FloatArray) -> npt.NDArray[np.float64]:
        """(x - μ_j)ᵀ Σ⁻¹ (x - μ_j) / d [n, e]; about 1 for a query of the domain itself."""
        x = vectors.astype(np.float64)
        projected = product(x, self._precision)
        squared = (
            (projected * x).sum(axis=1)[:, None]
            - 2 * product(projected, self._means.T)
            + self._squares[None]
        )
        return np.asarray(np.maximum(squared, 0.0) / self.width)


def posterior(distances: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """p(domain | query) [n, e] of equally frequent domains, from distances as `Familiarity` gives."""
    logits = -0.5 * width * distances
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
