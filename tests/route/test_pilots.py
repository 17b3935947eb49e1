from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import ConfigError
from pointsman.route.pilots import Pilots, best_experts, centroids, make_pilots, pilot_scores


def array(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_the_best_expert_and_ties_to_the_first() -> None:
    utilities = np.array([[0.1, 0.5, 0.4], [1.0, 1.0, 1.0], [0.2, 0.7, 0.7 + 1e-12]])
    assert best_experts(utilities).tolist() == [1, 0, 1]


def test_a_library_by_hand() -> None:
    # Set one: two queries that the base (0) does best, one that expert 1 does; set two: expert 1's.
    one = (array([1, 0], [0, 1], [0.6, 0.8]), np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    two = (array([0.8, 0.6]), np.array([[0.2, 0.3]]))
    pilots = make_pilots([one, two])
    assert pilots.experts.tolist() == [0, 1, 1]
    assert pilots.vectors == pytest.approx(array([0.5, 0.5], [0.6, 0.8], [0.8, 0.6]))


def test_groups_are_made_within_each_set() -> None:
    """Two sets of one expert give two pilots, not the centroid of both."""
    ones = np.array([[0.0, 1.0]])
    pilots = make_pilots([(array([1, 0]), ones), (array([0, 1]), ones)])
    assert pilots.vectors.tolist() == [[1, 0], [0, 1]]


def test_mean_and_max_can_disagree() -> None:
    pilots = Pilots(array([1, 0], [-1, 0], [0.5, 0]), np.array([0, 0, 1]))
    query = array([1, 0])
    assert pilot_scores(query, pilots, 2, "mean").tolist() == [[0.0, 0.5]]
    assert pilot_scores(query, pilots, 2, "max").tolist() == [[1.0, 0.5]]


def test_an_expert_without_pilots_is_never_chosen() -> None:
    pilots = Pilots(array([-1, 0]), np.array([0]))
    assert pilot_scores(array([1, 0]), pilots, 3).tolist() == [[-1.0, -np.inf, -np.inf]]


def test_an_expert_taken_away() -> None:
    pilots = Pilots(array([1, 0], [0, 1], [0.5, 0]), np.array([0, 1, 2])).without(1)
    assert pilots.experts.tolist() == [0, 1]
    assert pilots.vectors.tolist() == [[1, 0], [0.5, 0]]


def test_k_means_finds_the_clusters() -> None:
    generator = np.random.default_rng(0)
    centres = array([1, 0], [0, 1], [-1, -1])
    points = np.concatenate([c + 0.01 * generator.normal(size=(40, 2)) for c in centres])
    found = centroids(points.astype(np.float32), 3)
    assert sorted(found.round(1).tolist()) == sorted(centres.tolist())


def test_groups_smaller_than_k_are_their_own_pilots() -> None:
    utilities = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    pilots = make_pilots([(array([1, 0], [0, 1], [0, -1]), utilities)], k=5)
    assert pilots.experts.tolist() == [0, 0, 1]


@given(st.integers(1, 6), st.integers(1, 30), st.integers(1, 4))
def test_at_most_k_pilots_a_group(k: int, n: int, experts: int) -> None:
    generator = np.random.default_rng(n)
    vectors = generator.normal(size=(n, 3)).astype(np.float32)
    utilities = generator.random((n, experts))
    pilots = make_pilots([(vectors, utilities)], k)
    counts = np.bincount(best_experts(utilities), minlength=experts)
    assert (np.bincount(pilots.experts, minlength=experts) <= np.minimum(counts, k)).all()
    assert ((np.bincount(pilots.experts, minlength=experts) > 0) == (counts > 0)).all()


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="at least 1 pilot"):
        make_pilots([], k=0)
    with pytest.raises(ConfigError, match="no training queries"):
        make_pilots([])
    with pytest.raises(ConfigError, match="mean or max"):
        pilot_scores(array([1, 0]), Pilots(array([1, 0]), np.array([0])), 1, "median")  # type: ignore[arg-type]
