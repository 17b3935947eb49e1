"""What is foreseen of a question, by hand; and regressions, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.defer import foresight
from pointsman.defer.foresight import NEIGHBOURS, Foresight
from pointsman.defer.logistic import log_odds
from pointsman.defer.regression import Regression, predicted


def test_the_nearest_questions_by_hand() -> None:
    """Ten questions, so that two are near: those of the least angle, however long their vectors."""
    angles = np.radians([0, 10, 20, 90, 100, 110, 180, 190, 200, 270])
    before = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, 11)[:, None]
    right = np.zeros((10, 2))
    right[[0, 1, 3], 0] = 1
    right[[4, 5], 1] = 1
    made = Foresight.learn(before, right)
    asked = np.array([[5.0, 0.4], [0.0, 0.1], [-2.0, 6.0]])  # at 5, 90 and 108 degrees
    assert made.nearest(asked).tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    found = made(asked)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found[:, :1], log_odds(made.easy(asked)), rtol=1e-6)
    # Nothing is known of a question without a direction, and it is no reason to fail.
    assert np.isfinite(made(np.zeros((1, 2)))).all()
    assert made(np.zeros((0, 2))).shape == (0, 3)


def test_many_questions_are_foreseen_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    before, right = rng.normal(size=(1_200, 4)), (rng.random((1_200, 3)) < 0.5).astype(float)
    made = Foresight.learn(before, right)
    whole = made(before)
    monkeypatch.setattr(foresight, "_BLOCK", 7)
    np.testing.assert_allclose(made(before), whole, rtol=1e-5)
    # Of 1,200 questions a sixth are neighbours: each share is a whole number of them.
    counts = whole[:, 1:] * NEIGHBOURS
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-3)


def test_regression_is_sklearns() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 4)) * [1.0, 30.0, 0.1, 2.0] + [0.0, 500.0, 1.0, -3.0]
    y = x @ rng.normal(size=(4, 3)) / [1, 30, 5] + rng.normal(size=(90, 3)) + 7
    parts = np.arange(90) % 3
    ours = Regression(x, parts, penalty=5.0 / 90)
    scale = x.std(axis=0)

    def theirs(rows: np.ndarray) -> np.ndarray:
        model = linear.Ridge(alpha=5.0).fit(x[rows] / scale, y[rows])
        return np.asarray(model.predict(x / scale))

    everyone = np.arange(90)
    np.testing.assert_allclose(predicted(x, ours.weights(y)), theirs(everyone), rtol=1e-4)
    apart = ours.apart(y)
    for part in range(3):
        mine = parts == part
        np.testing.assert_allclose(apart[mine], theirs(everyone[~mine])[mine], rtol=1e-6)


def test_a_feature_that_is_always_the_same_says_nothing() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 1))
    parts = np.arange(40) % 2
    more = np.hstack([x, np.full((40, 1), 3.0)])
    without, beside = Regression(x, parts, 0.02), Regression(more, parts, 0.02)
    np.testing.assert_allclose(beside.apart(y), without.apart(y), atol=0.05)
    assert np.isfinite(beside.weights(y)).all()
    # What does not belong to a target leaves the others as they are.
    both = without.weights(np.hstack([y, np.full((40, 1), np.nan)]))
    np.testing.assert_allclose(both[:, :1], without.weights(y))
    assert np.isnan(both[:, 1]).all()
