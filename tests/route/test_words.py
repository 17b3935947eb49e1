from __future__ import annotations

import numpy as np
import pytest

from pointsman.protocols import Queries
from pointsman.route.familiarity import Domain
from pointsman.route.mixture import MixtureRouter, MixtureSettings
from pointsman.route.words import USUAL, WEIGHTS, best_dense_weight, dense_shift


def test_shift_by_hand() -> None:
    # The base and an expert without a weight are as usual; 0.25 of 0.9 is 0.1 above 0.5.
    weights = np.array([[1, 0, 0], [0.5, 0.25, 0.25], [0, 1, 0]], dtype=np.float32)
    assert dense_shift(weights, [None, 0.9, None]) == pytest.approx([0.0, 0.1, 0.4])


def test_the_weight_that_dev_prefers() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=200) * 0.1
    found = best_dense_weight(lambda weight: 0.5 - abs(weight - 0.8) + noise)
    assert found == 0.8


def test_luck_does_not_move_it() -> None:
    rng = np.random.default_rng(0)
    scores = {weight: rng.random(12) for weight in WEIGHTS}
    kept = [
        best_dense_weight(lambda weight, s=shift: np.roll(scores[weight], s)) for shift in range(3)
    ]
    assert set(kept) == {USUAL} or all(
        (scores[w] - scores[USUAL]).mean() > (scores[w] - scores[USUAL]).std(ddof=1) / np.sqrt(12)
        for w in set(kept) - {USUAL}
    )
    assert best_dense_weight(lambda weight: np.array([weight])) == USUAL
    assert best_dense_weight(lambda weight: np.full(5, 0.3)) == USUAL


class Seen:
    """Queries whose features are given."""

    def __init__(self, features: np.ndarray) -> None:
        self.texts = ("q",) * len(features)
        self.features = self.vectors = features.astype(np.float32)


def test_the_router_tells_how_words_count() -> None:
    rng = np.random.default_rng(0)
    points = {
        name: rng.normal(size=(300, 4)) + centre for name, centre in (("law", 5), ("code", -5))
    }
    moments = {name: Domain.of(each.astype(np.float32)) for name, each in points.items()}
    queries: Queries = Seen(np.array([[5.0] * 4, [-5.0] * 4, [50.0] * 4]))
    settings = MixtureSettings(threshold=2.0)
    assert MixtureRouter(moments, settings).route(queries).dense_shift is None
    code = Domain(moments["code"].mean, moments["code"].covariance, 300, 0.9)
    shift = (
        MixtureRouter({"law": moments["law"], "code": code}, settings).route(queries).dense_shift
    )
    assert shift is not None
    # Of an unfamiliar query each of two experts has a sixth.
    assert shift == pytest.approx([0.0, 0.4, 0.4 / 6], abs=1e-6)
