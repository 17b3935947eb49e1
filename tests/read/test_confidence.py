"""Calibrated confidence against scikit-learn, and what it must never do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.read.confidence import UNCALIBRATED, Calibration, features, fit

Floats = npt.NDArray[np.float64]


def answers(seed: int, n: int = 400) -> tuple[Floats, Floats]:
    """Features of n answers and whether they were right, by a known law."""
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-rng.normal(0, 2, n)))
    no_answer = (1 - probability) * rng.random(n)
    passages = rng.choice([1.0, 3.0, 5.0, 10.0], n)
    x = features(probability, no_answer, passages, rng.integers(1, 60, n).astype(np.float64))
    z = x @ np.array([0.3, 0.6, 0.1, -0.4, -0.2]) - 0.3
    return x, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float64)


def test_features_by_hand() -> None:
    x = features(
        np.array([0.5, 0.6]), np.array([0.0, 0.2]), np.array([1.0, 5.0]), np.array([0.0, 6.0])
    )
    assert x[0, :2] == pytest.approx([0.0, 0.0])
    assert x[0, 3:] == pytest.approx([0.0, 0.0])
    # 0.6 of 0.8 is 3/4; odds 3/2, 3 and 4.
    assert x[1] == pytest.approx(np.log([1.5, 3.0, 4.0, 5.0, 7.0]))


def test_features_of_certainty_and_of_nothing_are_finite() -> None:
    x = features(
        np.array([0.0, 1.0, 0.0]),
        np.array([1.0, 0.0, 0.0]),
        np.array([0.0, 1.0, 1.0]),
        np.array([0.0, 1e6, 3.0]),
    )
    assert np.isfinite(x).all()
    assert x[0, 0] == pytest.approx(-x[1, 0])


@given(st.floats(0, 1), st.floats(0, 1))
def test_likelier_is_never_less_confident(one: float, other: float) -> None:
    low, high = sorted((one, other))
    calibration = Calibration((0.1, 0.7, 0.1, -0.2, -0.3), 0.3)
    both = np.array([3.0, 3.0])
    x = features(np.array([low, high]), np.array([0.0, 0.0]), both, both)
    confidence = calibration.apply(x)
    assert confidence[0] <= confidence[1]
    assert ((confidence > 0) & (confidence < 1)).all()


def test_uncalibrated_is_the_probability_itself() -> None:
    given_ = np.array([0.001, 0.2, 0.5, 0.9])
    passages = np.array([1.0, 2.0, 3.0, 10.0])
    x = features(given_, np.array([0.9, 0.1, 0.0, 0.05]), passages, np.array([9.0, 1.0, 3.0, 70.0]))
    assert UNCALIBRATED.apply(x) == pytest.approx(given_)


@pytest.mark.parametrize("penalty", [1e-2, 1.0, 50.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_is_scikit_learns(seed: int, penalty: float) -> None:
    from sklearn.linear_model import LogisticRegression

    x, right = answers(seed)
    # Theirs: Σ log-loss · C + ½ |w|². Ours: mean log-loss + penalty / n · ½ |w|².
    rival = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(x, right)
    ours = fit(x, right, penalty=penalty)
    assert ours.weights == pytest.approx(rival.coef_[0], abs=1e-4)
    assert ours.bias == pytest.approx(float(rival.intercept_[0]), abs=1e-4)
    assert ours.apply(x) == pytest.approx(rival.predict_proba(x)[:, 1], abs=1e-5)


def test_a_fit_is_right_on_average() -> None:
    x, right = answers(3)
    assert fit(x, right).apply(x).mean() == pytest.approx(right.mean(), abs=1e-6)


def test_answers_that_a_line_separates() -> None:
    x, _ = answers(4, 60)
    x = x[np.abs(x[:, 0]) > 0.5]
    right = (x[:, 0] > 0).astype(np.float64)
    calibration = fit(x, right)
    confidence = calibration.apply(x)
    assert np.isfinite([*calibration.weights, calibration.bias]).all()
    assert ((confidence > 0.5) == (right == 1)).all()
    assert ((confidence > 0) & (confidence < 1)).all()


def test_a_feature_that_never_changes() -> None:
    x, right = answers(5)
    x[:, 3] = 0.0  # one passage each
    assert fit(x, right).weights[3] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("right", [[], [1.0, 1.0, 1.0], [0.0, 0.0]])
def test_nothing_to_fit(right: list[float]) -> None:
    with pytest.raises(ValueError, match="both right and wrong answers"):
        fit(np.zeros((len(right), 5)), np.array(right))
