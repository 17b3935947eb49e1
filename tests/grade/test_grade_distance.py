from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from pointsman.errors import ConfigError, InputError
from pointsman.grade.distance import (
    ClassGaussians,
    ledoit_wolf,
    nearest_neighbour_distance,
    neighbour_distances,
)


def normal(n: int, d: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=(n, d))


# --- Gaussians ------------------------------------------------------------------------------------


def test_mahalanobis_by_hand() -> None:
    # Class 0 around (1, 0), class 2 around (5, 2); residuals (±1, 0) and (0, ±2): Σ = diag(1/2, 2).
    features = [[0, 0], [2, 0], [5, 0], [5, 4]]
    fitted = ClassGaussians.fit(features, [0, 0, 2, 2], shrinkage=0)
    assert fitted.classes.tolist() == [0, 2]
    assert fitted.means.tolist() == [[1, 0], [5, 2]]
    found = fitted.distances([[1, 2], [3, 1]])
    assert found == pytest.approx(np.array([[2, 32], [8.5, 8.5]]))
    assert fitted.nearest([[1, 2], [3, 1]]) == pytest.approx([2, 8.5])
    # Half of Σ is its mean variance, 1.25: Σ = diag(0.875, 1.625).
    half = ClassGaussians.fit(features, [0, 0, 2, 2], shrinkage=0.5)
    assert half.distances([[1, 2]])[0, 0] == pytest.approx(4 / 1.625)


@pytest.mark.parametrize(("n", "d"), [(40, 3), (300, 8), (12, 30)])
def test_the_shrinkage_and_the_distances_are_scikit_learns(n: int, d: int) -> None:
    labels = np.arange(n) % 3
    features = normal(n, d, n) * np.linspace(0.1, 3, d) + 4.0 * labels[:, None]
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])
    rival = LedoitWolf(assume_centered=True).fit(features - means[labels])
    fitted = ClassGaussians.fit(features, labels)
    assert 0 < fitted.shrinkage < 1
    assert fitted.shrinkage == pytest.approx(rival.shrinkage_, rel=1e-9)
    x = normal(20, d, 1, scale=5.0)
    expected = np.stack([rival.mahalanobis(x - mean) for mean in means], axis=1)
    assert fitted.distances(x) == pytest.approx(expected, rel=1e-8)
    assert fitted.nearest(x) == pytest.approx(expected.min(axis=1), rel=1e-8)


def test_without_shrinkage_and_with_one_class_it_is_the_empirical_covariance() -> None:
    features, x = normal(50, 4, 0) + 7, normal(9, 4, 1)
    fitted = ClassGaussians.fit(features, np.zeros(50), shrinkage=0)
    rival = EmpiricalCovariance().fit(features)
    assert fitted.distances(x)[:, 0] == pytest.approx(rival.mahalanobis(x))
    # The training samples' own squared distances average to the number of dimensions.
    assert fitted.nearest(features).mean() == pytest.approx(4)


def test_distances_do_not_depend_on_units_or_order() -> None:
    features, labels, x = normal(60, 5, 0), np.arange(60) % 2, normal(7, 5, 1)
    fitted = ClassGaussians.fit(features, labels).distances(x)
    scaled = ClassGaussians.fit(1000 * features + 3, labels).distances(1000 * x + 3)
    assert scaled == pytest.approx(fitted, rel=1e-6)
    order = np.random.default_rng(2).permutation(60)
    again = ClassGaussians.fit(features[order], labels[order]).distances(x)
    assert again == pytest.approx(fitted)


def test_fewer_samples_than_dimensions_and_dead_dimensions_work() -> None:
    features = np.hstack([normal(10, 30, 0), np.ones((10, 5))]).astype(np.float32)
    fitted = ClassGaussians.fit(features, np.arange(10) % 2)
    away = features + np.eye(35, dtype=np.float32)[34]  # moved along a direction never seen to vary
    assert np.isfinite(fitted.nearest(features)).all()
    assert (fitted.nearest(away) > fitted.nearest(features)).all()


def test_residuals_of_one_direction_still_give_a_distance_in_all() -> None:
    # Two samples: the estimate itself is 0 and the covariance of rank 1.
    fitted = ClassGaussians.fit([[0.0, 0.0], [2.0, 0.0]], [1, 1])
    along, across = fitted.nearest([[2.0, 0.0], [1.0, 1.0]])
    assert along == pytest.approx(1)
    assert along < across < np.inf


def test_a_class_of_one_sample_has_its_mean_there() -> None:
    features = np.vstack([normal(30, 3, 0), [[9.0, 9.0, 9.0]]])
    fitted = ClassGaussians.fit(features, [0] * 30 + [1])
    assert fitted.means[1].tolist() == [9, 9, 9]
    assert fitted.distances(features)[:, 1].argmin() == 30
    assert fitted.nearest(features)[30] == 0


@pytest.mark.parametrize("shrinkage", [None, 0.0])
def test_samples_that_equal_their_means_leave_the_euclidean_distance(
    shrinkage: float | None,
) -> None:
    features = np.repeat([[0.1, 0.7], [0.3, 0.3]], 3, axis=0)  # means of thirds are rounded
    fitted = ClassGaussians.fit(features, [0, 0, 0, 1, 1, 1], shrinkage)
    assert fitted.distances([[3.1, 4.7]])[0, 0] == pytest.approx(25)


def test_ledoit_wolf_by_hand() -> None:
    # S = I/2, already what it would be shrunk to: all of it, or none, is the same.
    assert ledoit_wolf(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])) == 1
    # S = diag(4, 1)/2·(1, 1): δ² = 4.25 - 3.125, b² = ((16 + 1)/2 - 4.25)/4.
    found = ledoit_wolf(np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]]))
    assert found == pytest.approx(1.0625 / 1.125)


def test_gaussians_refuse_with_one_line() -> None:
    good, labels = normal(4, 3, 0), [0, 0, 1, 1]
    broken = good.copy()
    broken[2, 1], broken[3, 0] = np.nan, np.inf
    with pytest.raises(InputError, match="no training sample to fit"):
        ClassGaussians.fit(np.zeros((0, 3)), [])
    with pytest.raises(InputError, match=r"labels \(3,\) must be as many as the 4 training"):
        ClassGaussians.fit(good, labels[:3])
    with pytest.raises(InputError, match="row 2 of the training features holds NaN or infinity"):
        ClassGaussians.fit(broken, labels)
    with pytest.raises(InputError, match="2 of the features holds NaN"):
        ClassGaussians.fit(good, labels).nearest(broken)
    with pytest.raises(InputError, match=r"shape \[samples, dimensions\], not \(3,\)"):
        ClassGaussians.fit(good[0], labels)
    with pytest.raises(InputError, match="the features have 2 dimensions, the training samples 3"):
        ClassGaussians.fit(good, labels).distances(good[:, :2])
    with pytest.raises(InputError, match="4 training samples in 3 dimensions is singular"):
        ClassGaussians.fit(good, labels, shrinkage=0)
    with pytest.raises(ConfigError, match=r"between 0 and 1, not 1\.5"):
        ClassGaussians.fit(good, labels, shrinkage=1.5)


# --- nearest neighbours ---------------------------------------------------------------------------


def test_neighbours_by_hand() -> None:
    train = [[0, 0], [3, 4], [0, 1]]
    assert neighbour_distances(train, [[0, 0]], 3).tolist() == [[0, 1, 5]]
    assert nearest_neighbour_distance(train, [[0, 0]], 2, normalise=False).tolist() == [1]
    # On the unit circle: (5, 0) is (1, 0), √2 from (0, 1), and (3, 4) is (0.6, 0.8).
    found = nearest_neighbour_distance([[0, 2], [3, 4]], [[5, 0]], 1)
    assert found == pytest.approx([np.sqrt(0.4**2 + 0.8**2)])


@given(
    n=st.integers(2, 30),
    m=st.integers(0, 20),
    d=st.integers(1, 6),
    seed=st.integers(0, 999),
    normalise=st.booleans(),
    chunk=st.sampled_from([1, 500, 2**20]),
    data=st.data(),
)
def test_neighbours_are_scikit_learns(
    n: int, m: int, d: int, seed: int, normalise: bool, chunk: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n))
    train, x = normal(n, d, seed).astype(np.float32), normal(m, d, seed + 1).astype(np.float32)
    found = nearest_neighbour_distance(train, x, k, normalise, chunk_bytes=chunk)
    assert found.dtype == np.float64
    assert found.shape == (m,)
    if m == 0:
        return
    wide, others = train.astype(np.float64), x.astype(np.float64)
    if normalise:
        wide, others = normalize(wide), normalize(others)
    expected, _ = NearestNeighbors(n_neighbors=k).fit(wide).kneighbors(others)
    assert found == pytest.approx(expected[:, -1], abs=1e-7)


@pytest.mark.parametrize("chunk", [1, 300, 2**20])
def test_leaving_one_out_is_leaving_its_row_out(chunk: int) -> None:
    train = normal(15, 3, 0)
    train[4] = train[9]  # a copy is a neighbour of its own
    found = nearest_neighbour_distance(train, train, 2, leave_one_out=True, chunk_bytes=chunk)
    for i in range(15):
        others = np.delete(train, i, axis=0)
        expected = nearest_neighbour_distance(others, train[i : i + 1], 2)
        assert found[i] == pytest.approx(expected[0], abs=1e-7)
    nearest = nearest_neighbour_distance(train, train, 1, leave_one_out=True)
    assert nearest[4] == pytest.approx(0, abs=1e-7)
    assert nearest[0] > 0.01
    assert nearest_neighbour_distance(train, train, 1) == pytest.approx(0, abs=1e-7)


def test_a_row_of_zeros_stays() -> None:
    assert nearest_neighbour_distance([[0, 3]], [[0, 0]], 1).tolist() == [1]


def test_neighbours_refuse_with_one_line() -> None:
    train = normal(3, 2, 0)
    broken = train.copy()
    broken[1] = np.inf
    with pytest.raises(InputError, match="4 neighbours are wanted of 3 training samples; ask"):
        nearest_neighbour_distance(train, train, 4)
    with pytest.raises(InputError, match=r"3 neighbours are wanted of 2 .* beside each one itself"):
        nearest_neighbour_distance(train, train, 3, leave_one_out=True)
    with pytest.raises(InputError, match="1 neighbours are wanted of 0 training samples"):
        nearest_neighbour_distance(np.zeros((0, 2)), train, 1)
    with pytest.raises(InputError, match="1 neighbours are wanted of 0 training samples"):
        nearest_neighbour_distance(np.zeros((0, 2)), np.zeros((0, 2)), 1, leave_one_out=True)
    with pytest.raises(InputError, match="own distances; give them as x"):
        nearest_neighbour_distance(train, train[:2], 1, leave_one_out=True)
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        nearest_neighbour_distance(train, train, 0)
    with pytest.raises(InputError, match="row 1 of the training features"):
        nearest_neighbour_distance(broken, train, 1)
    with pytest.raises(InputError, match="row 1 of the features"):
        nearest_neighbour_distance(train, broken, 1)
    with pytest.raises(InputError, match="the features have 1 dimensions, the training samples 2"):
        nearest_neighbour_distance(train, train[:, :1], 1)
