"""How well a query fits each expert's domain: Gaussians over query features.

A domain is the mean and covariance of its training queries' features. Each covariance is drawn
towards the one pooled over all domains, as in regularised discriminant analysis (Friedman 1989):
with the pooled one alone it is linear discriminant analysis. A new domain needs its own two moments
and no training. The squared Mahalanobis distance to the nearest domain says whether a query is like
anything that an expert was trained on (Lee et al., arXiv 1807.03888). n queries, e domains, d
dimensions.
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
    """The moments of a domain's query vectors: `mean` [d], `covariance` [d, d], of `queries` queries.

    `dense_weight` is what vectors should count for in hybrid search there, None where nobody knows.
    """

    mean: FloatArray
    covariance: FloatArray
    queries: int
    dense_weight: float | None = None

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
    """Squared Mahalanobis distances to several domains.

    `own` is the share of its own covariance that a domain of a thousand queries keeps, a smaller
    one less; the rest is the pooled one. `shrinkage` is the share of a covariance that is replaced
    by its mean variance in every direction, so that few queries still give a distance. `width` is d.
    """

    def __init__(self, domains: Sequence[Domain], shrinkage: float = 0.1, own: float = 0.0) -> None:
        if not domains:
            raise ConfigError("there is no domain to be familiar with")
        stacked = np.stack([domain.covariance for domain in domains]).astype(np.float64)
        known = np.array([min(domain.queries, _ENOUGH) for domain in domains], dtype=np.float64)
        pooled = np.tensordot(known / known.sum(), stacked, axes=1)
        kept = (own * known / _ENOUGH)[:, None, None]
        self.width = pooled.shape[0]
        # With Σ⁻¹ = R Rᵀ a distance is the length of R's image of x - μ.
        self._roots = [
            _root(covariance, shrinkage) for covariance in (1 - kept) * pooled + kept * stacked
        ]
        self._centres = [
            domain.mean.astype(np.float64) @ root
            for domain, root in zip(domains, self._roots, strict=True)
        ]

    def distances(self, vectors: FloatArray) -> npt.NDArray[np.float64]:
        """(x - μ_j)ᵀ Σ_j⁻¹ (x - μ_j) / d [n, e]; about 1 for a query of the domain itself."""
        x = vectors.astype(np.float64)
        squared = [
            ((product(x, root) - centre) ** 2).sum(axis=1)
            for root, centre in zip(self._roots, self._centres, strict=True)
        ]
        return np.asarray(np.stack(squared, axis=1) / self.width)


def _root(covariance: _Matrix, shrinkage: float) -> _Matrix:
    """R with Σ⁻¹ = R Rᵀ [d, d] of the shrunk covariance Σ."""
    width = len(covariance)
    # Domains of one query each have no spread at all; any will do then.
    variance = np.trace(covariance) / width or 1.0 / width
    shrunk = (1 - shrinkage) * covariance + shrinkage * variance * np.eye(width)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(shrunk)).T)


def posterior(distances: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """p(domain | query) [n, e] of equally frequent domains, from distances as `Familiarity` gives.

    As if all had one covariance: the volumes of their own ones would favour narrow domains, and they
    are the least certain of what is estimated.
    """
    logits = -0.5 * width * distances
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
