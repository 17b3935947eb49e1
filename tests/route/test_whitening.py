from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import ConfigError
from pointsman.protocols import QueryFit
from pointsman.route.whitening import Whitening, whitening


def documents(n: int = 2000, seed: int = 0) -> np.ndarray:
    """Documents that differ ten times as much along the first axis as along the others."""
    scales = np.array([1.0, 0.1, 0.1, 0.1])
    return (np.random.default_rng(seed).normal(size=(n, 4)) * scales).astype(np.float32)


def test_the_direction_in_which_all_differ_counts_less() -> None:
    query = np.array([[1, 1, 0, 0]], dtype=np.float32)
    moved = (query @ whitening(documents(), 0.5))[0]
    assert 0 < moved[0] < 0.5 * moved[1]


def test_by_hand() -> None:
    """Two axes with variances 4 and 1, whose mean is 2.5: (4/2.5 + 0.1)^-1 and (1/2.5 + 0.1)^-1."""
    points = np.array([[2, 1], [2, -1], [-2, 1], [-2, -1]], dtype=np.float32)
    assert whitening(points, 1.0) == pytest.approx(np.diag([1 / 1.7, 1 / 0.5]), abs=1e-5)


def test_no_strength_is_no_change() -> None:
    assert whitening(documents(), 0.0) == pytest.approx(np.eye(4), abs=1e-5)


@pytest.mark.parametrize("n", [1, 5])
def test_documents_that_do_not_differ_change_nothing(n: int) -> None:
    same = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (n, 1))
    assert whitening(same).tolist() == [[1, 0], [0, 1]]


@given(st.floats(0, 1), st.integers(2, 30), st.integers(0, 99))
def test_always_symmetric_and_finite(strength: float, n: int, seed: int) -> None:
    found = whitening(documents(n, seed), strength)
    assert np.isfinite(found).all()
    assert found == pytest.approx(found.T, abs=1e-4)
    assert np.linalg.eigvalsh(found.astype(np.float64)).min() > 0


def test_bad_strength() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1, not 2"):
        whitening(documents(), 2)


def test_the_fit_follows_the_index() -> None:
    """One matrix a version, whatever is asked in between."""
    versions = [(1, documents(seed=1)), (1, documents(seed=1)), (2, documents(seed=2)[:, ::-1])]
    asked = iter(versions)
    fit: QueryFit = Whitening(lambda: next(asked), 0.5)
    query = np.array([[1, 1, 1, 1]], dtype=np.float32)
    first, again, after = fit.fit(query), fit.fit(query), fit.fit(query)
    assert first.tolist() == again.tolist()
    assert first == pytest.approx(query @ whitening(documents(seed=1), 0.5))
    assert first[0].argmin() == 0
    assert after[0].argmin() == 3
