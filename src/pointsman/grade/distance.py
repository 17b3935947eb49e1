"""How far samples lie from the training samples: two distances that tell what is out of distribution.

Mahalanobis distance to the nearest of class-conditional Gaussians with one covariance (Lee et al.
2018, arXiv 1807.03888, equation 2), which says "like no class as a whole", and the distance to the
k-th nearest training sample (Sun et al. 2022, arXiv 2204.06507, section 3), which knows no shape.
DaRL's sample augmentation (arXiv 2412.12504, DASA) stands on both. n training samples, m others,
d dimensions; features are any real arrays, and all is computed in float64.

Shared: InputError for features that are not of shape [n, d], hold NaN or infinity (the first such
row is named, rows count from 0), or are of another width than the training samples'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError, InputError
from pointsman.products import product

Floats = npt.NDArray[np.float64]

# An estimated shrinkage is 0 where the residuals are one direction alone, as of two samples.
_LEAST_SHRINKAGE = 1e-6
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class ClassGaussians:
    """A Gaussian a class, N(μ_c, Σ), with the within-class covariance Σ tied over the classes.

    `classes` [c] are the labels in their order, `means` [c, d], `shrinkage` the share of Σ that is
    its mean variance in every direction; `whitener` W [d, d] has W Wᵀ = Σ⁻¹.
    """

    classes: npt.NDArray[Any]
    means: Floats
    whitener: Floats
    shrinkage: float

    @classmethod
    def fit(
        cls, features: npt.ArrayLike, labels: npt.ArrayLike, shrinkage: float | None = None
    ) -> Self:
        """From `features` [n, d] and their classes `labels` [n]; a class may have one sample.

        Σ = (1 - s) S + s (tr S / d) I with S = 1/n Σ_i r_i r_iᵀ, r_i being sample i less its class
        mean, and s the given `shrinkage` or, for None, `ledoit_wolf(r)`. Samples that all equal
        their class mean have Σ = I, which leaves the Euclidean distance. Raises InputError for no
        sample and for a Σ that is singular after a given shrinkage, ConfigError for a shrinkage
        outside [0, 1].
        """
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ConfigError(f"shrinkage lies between 0 and 1, not {shrinkage}")
        x = checked("the training features", features)
        given = np.asarray(labels)
        if len(x) == 0:
            raise InputError("there is no training sample to fit Gaussians to; give some")
        if given.shape != (len(x),):
            raise InputError(
                f"labels {given.shape} must be as many as the {len(x)} training samples"
            )
        classes, member = np.unique(given, return_inverse=True)
        means = np.stack([x[member == c].mean(axis=0) for c in range(len(classes))])
        residuals = x - means[member]
        share = ledoit_wolf(residuals) if shrinkage is None else shrinkage
        return cls(classes, means, _whitener(residuals, np.square(x).mean(), share), share)

    def distances(self, x: npt.ArrayLike) -> Floats:
        """Squared Mahalanobis distances (x - μ_c)ᵀ Σ⁻¹ (x - μ_c) [m, classes] of x [m, d]."""
        given = checked("the features", x, self.means.shape[1])
        # A class after the other: few classes, and no difference of large squares.
        return np.stack(
            [np.square(product(given - mean, self.whitener)).sum(axis=1) for mean in self.means],
            axis=1,
        )

    def nearest(self, x: npt.ArrayLike) -> Floats:
        """The squared distance to the nearest class [m] of x [m, d]: Lee et al.'s -M(x)."""
        return np.asarray(self.distances(x).min(axis=1))


def ledoit_wolf(residuals: Floats) -> float:
    """The shrinkage in (0, 1] that expects the least squared error of the covariance.

    `residuals` [n, d] have mean 0. Ledoit & Wolf 2004, "A well-conditioned estimator for
    large-dimensional covariance matrices", section 3.2: s = min(b², δ²) / δ², where δ² is how far
    S lies from its mean variance in every direction, and b² how far S is expected to lie from Σ.
    """
    n, width = residuals.shape
    covariance = product(residuals.T, residuals) / n
    variance = np.trace(covariance) / width
    spread = np.square(covariance).sum() - width * variance**2
    error = (np.square(np.square(residuals).sum(axis=1)).mean() - np.square(covariance).sum()) / n
    if error >= spread:
        return 1.0
    return max(float(error / spread), _LEAST_SHRINKAGE)


def _whitener(residuals: Floats, square: float, shrinkage: float) -> Floats:
    """W [d, d] of residuals [n, d] of features whose mean square is `square`."""
    n, width = residuals.shape
    covariance = product(residuals.T, residuals) / n
    variance = float(np.trace(covariance)) / width
    if variance <= np.finfo(np.float64).eps * square:  # nothing but the means' rounding
        return np.eye(width)
    values, vectors = np.linalg.eigh(covariance)
    values = (1 - shrinkage) * values + shrinkage * variance
    if values[0] <= width * np.finfo(np.float64).eps * values[-1]:
        raise InputError(
            f"the covariance of {n} training samples in {width} dimensions is singular at "
            f"shrinkage {shrinkage:g}; give a larger one, or None to estimate it"
        )
    return np.asarray(vectors / np.sqrt(values))


def nearest_neighbour_distance(
    train: npt.ArrayLike,
    x: npt.ArrayLike,
    k: int,
    normalise: bool = True,
    leave_one_out: bool = False,
    chunk_bytes: int = _CHUNK_BYTES,
) -> Floats:
    """The Euclidean distance of each of x [m, d] to the k-th nearest of `train` [n, d], as [m].

    `normalise` divides every row by its L2 norm first (a row of zeros stays), as Sun et al. do. Of
    training samples' own distances `leave_one_out` excludes each sample itself, by its row: x is
    then `train` again. Raises as `neighbour_distances` does.
    """
    some, others = checked("the training features", train), checked("the features", x)
    if normalise:
        some, others = _unit(some), _unit(others)
    return neighbour_distances(some, others, k, leave_one_out, chunk_bytes)[:, -1]


def neighbour_distances(
    train: npt.ArrayLike,
    x: npt.ArrayLike,
    k: int,
    leave_one_out: bool = False,
    chunk_bytes: int = _CHUNK_BYTES,
) -> Floats:
    """Euclidean distances of each of x [m, d] to its k nearest of `train` [n, d], [m, k] ascending.

    Rows of x are taken in chunks whose distances to all of `train` fill at most `chunk_bytes`, but
    one row at least. Exact to about 1e-8 of the features' norm. Raises ConfigError for k < 1 and
    InputError for a k of more than n samples, or than n - 1 where one is left out.
    """
    if k < 1:
        raise ConfigError(f"the number of neighbours must be at least 1, not {k}")
    some = checked("the training features", train)
    others = checked("the features", x, some.shape[1])
    if leave_one_out and not np.array_equal(some, others):
        raise InputError("leave_one_out is for the training samples' own distances; give them as x")
    there = len(some) - leave_one_out
    if k > there:
        raise InputError(
            f"{k} neighbours are wanted of {max(there, 0)} training samples"
            f"{' beside each one itself' if leave_one_out else ''}; "
            "ask for fewer or give more samples"
        )
    squares = np.square(some).sum(axis=1)
    rows = max(1, chunk_bytes // (len(some) * some.itemsize))
    nearest = np.empty((len(others), k))
    for start in range(0, len(others), rows):
        chunk = others[start : start + rows]
        squared = product(chunk, some.T)
        squared *= -2
        squared += squares
        squared += np.square(chunk).sum(axis=1, keepdims=True)
        if leave_one_out:
            own = np.arange(len(chunk))
            squared[own, start + own] = np.inf
        squared.partition(k - 1, axis=1)
        nearest[start : start + rows] = np.sort(squared[:, :k], axis=1)
    return np.sqrt(np.maximum(nearest, 0))


def checked(what: str, features: npt.ArrayLike, width: int | None = None) -> Floats:
    """Features [n, d] as float64, checked as the head of this file says; n may be 0."""
    given = np.asarray(features, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] == 0:
        raise InputError(f"{what} must be of shape [samples, dimensions], not {given.shape}")
    if width is not None and given.shape[1] != width:
        raise InputError(
            f"{what} have {given.shape[1]} dimensions, the training samples {width}; "
            "take both from the same model"
        )
    broken = np.flatnonzero(~np.isfinite(given).all(axis=1))
    if len(broken):
        raise InputError(f"row {broken[0]} of {what} holds NaN or infinity; leave such rows out")
    return given


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)
