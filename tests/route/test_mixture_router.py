from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import ConfigError
from pointsman.protocols import Router
from pointsman.route.familiarity import Domain
from pointsman.route.mixture import MixtureRouter, MixtureSettings
from pointsman.types import FloatArray, Routing

WIDTH = 24


def queries_of(domain: int, n: int = 300, seed: int = 0) -> FloatArray:
    generator = np.random.default_rng([seed, domain])
    centre = np.zeros(WIDTH)
    centre[domain] = 1.0
    return (centre + 0.1 * generator.normal(size=(n, WIDTH))).astype(np.float32)


DOMAINS = {"law": Domain.of(queries_of(0)), "code": Domain.of(queries_of(1))}


class Vectors:
    def __init__(self, vectors: FloatArray) -> None:
        self.vectors = vectors

    @property
    def features(self) -> FloatArray:
        return self.vectors

    @property
    def texts(self) -> list[str]:
        return [""] * len(self.vectors)


def route(router: Router, vectors: FloatArray) -> Routing:
    return router.route(Vectors(vectors))


def test_a_familiar_query_gets_its_expert_and_a_share_of_the_base() -> None:
    router = MixtureRouter(DOMAINS, MixtureSettings(base=0.2, threshold=2.0))
    routing = route(router, queries_of(1, 50, seed=9))
    assert routing.experts == ("base", "law", "code")
    assert np.median(routing.weights, axis=0) == pytest.approx([0.2, 0.0, 0.8], abs=0.01)


def test_an_unfamiliar_query_gets_the_base_and_a_little_of_everything() -> None:
    router = MixtureRouter(DOMAINS, MixtureSettings(base_experts=4.0))
    routing = route(router, 3 * queries_of(7, 20))
    assert routing.weights == pytest.approx(np.tile([4 / 6, 1 / 6, 1 / 6], (20, 1)), abs=1e-3)


def test_in_hybrid_search_an_unfamiliar_query_is_left_to_the_base() -> None:
    router = MixtureRouter(DOMAINS, MixtureSettings.hybrid())
    assert route(router, 3 * queries_of(7, 20)).weights.tolist() == [[1.0, 0.0, 0.0]] * 20
    settings = MixtureSettings(base_experts=math.inf, threshold=2.0)
    own = route(MixtureRouter(DOMAINS, settings), queries_of(1, 50, seed=9)).weights
    assert np.median(own, axis=0) == pytest.approx([0.0, 0.0, 1.0], abs=0.01)


def test_an_expert_alone_does_not_carry_off_what_is_not_its_own() -> None:
    router = MixtureRouter({"law": DOMAINS["law"]})
    strange = route(router, 3 * queries_of(7, 20))
    assert strange.weights[:, 0] == pytest.approx(np.full(20, 0.8), abs=1e-3)
    own = route(
        MixtureRouter({"law": DOMAINS["law"]}, MixtureSettings(threshold=2.0)),
        queries_of(0, 200, seed=5),
    )
    assert np.median(own.weights[:, 1]) > 0.5


def test_an_expert_comes_and_goes_and_nothing_else_changes() -> None:
    third = {**DOMAINS, "tea": Domain.of(queries_of(2))}
    router = MixtureRouter(third, MixtureSettings(threshold=2.0))
    fewer = router.without("tea")
    assert fewer is not None
    vectors = queries_of(0, 10, seed=3)
    same = MixtureRouter(DOMAINS, MixtureSettings(threshold=2.0))
    assert route(fewer, vectors).weights.tolist() == route(same, vectors).weights.tolist()
    left = fewer.without("law")
    assert left is not None
    assert left.without("code") is None
    assert route(router, queries_of(2, 30, seed=1)).weights[:, 3].mean() > 0.5


def test_scores_are_comparable_to_the_bases() -> None:
    """The base's score is the threshold: an expert above it is at home with the query."""
    router = MixtureRouter(DOMAINS, MixtureSettings(threshold=1.5))
    scores = router.scores(np.concatenate([queries_of(0, 1, seed=2), 3 * queries_of(7, 1)]))
    assert scores[:, 0].tolist() == [-1.5, -1.5]
    assert scores[0, 1] > -1.5 > scores[0, 2]
    assert (scores[1, 1:] < -1.5).all()


@given(st.integers(1, 40), st.floats(0.1, 5), st.integers(0, 100))
def test_weights_are_shares_and_none_is_a_crumb(n: int, scale: float, seed: int) -> None:
    vectors = scale * np.random.default_rng(seed).normal(size=(n, WIDTH))
    weights = route(MixtureRouter(DOMAINS), vectors.astype(np.float32)).weights
    assert weights.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert ((weights == 0) | (weights >= 0.02)).all()


def test_without_experts_there_is_nothing_to_mix() -> None:
    with pytest.raises(ConfigError, match="no domain"):
        MixtureRouter({})
