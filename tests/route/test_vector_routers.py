from __future__ import annotations

import numpy as np
import pytest

from pointsman.errors import ConfigError
from pointsman.protocols import Router
from pointsman.route.pilots import Pilots
from pointsman.route.rivals import classification_head, expert_classifiers
from pointsman.route.router import KnnRouter, LinearRouter, PilotRouter, VectorRouter
from pointsman.types import FloatArray

EXPERTS = ("base", "one", "two")


class Vectors:
    """Queries of which only vectors are known."""

    def __init__(self, *rows: list[float]) -> None:
        self.vectors = np.array(rows, dtype=np.float32)

    @property
    def features(self) -> FloatArray:
        raise AssertionError("these routers look at vectors")

    @property
    def texts(self) -> list[str]:
        return [""] * len(self.vectors)


def array(*rows: list[float]) -> FloatArray:
    return np.array(rows, dtype=np.float32)


def chosen(router: Router, *rows: list[float]) -> list[str]:
    routing = router.route(Vectors(*rows))
    assert routing.weights.sum(axis=1) == pytest.approx(1.0)
    return [routing.experts[i] for i in routing.weights.argmax(axis=1)]


def test_pilots_choose_the_most_similar_expert() -> None:
    pilots = Pilots(array([1, 0], [0, 1], [-1, 0]), np.array([0, 1, 2]))
    router = PilotRouter(EXPERTS, pilots)
    assert chosen(router, [0.9, 0.1], [0.1, 0.9], [-1, 0.2]) == ["base", "one", "two"]


def test_ties_go_to_the_base() -> None:
    pilots = Pilots(array([1, 0], [1, 0]), np.array([1, 0]))
    assert chosen(PilotRouter(EXPERTS, pilots), [1, 0]) == ["base"]


def test_mean_and_max_are_two_routers() -> None:
    pilots = Pilots(array([1, 0], [-1, 0], [0.5, 0]), np.array([1, 1, 2]))
    assert chosen(PilotRouter(EXPERTS, pilots, "mean"), [1, 0]) == ["two"]
    assert chosen(PilotRouter(EXPERTS, pilots, "max"), [1, 0]) == ["one"]


def test_an_expert_leaves_and_the_others_stay() -> None:
    pilots = Pilots(array([1, 0], [0, 1], [-1, 0]), np.array([0, 1, 2]))
    router = PilotRouter(EXPERTS, pilots).without("one")
    assert router.experts == ("base", "two")
    assert chosen(router, [0.1, 0.9], [-1, 0.2]) == ["base", "two"]
    with pytest.raises(ConfigError, match="no expert 'one'"):
        router.without("one")
    with pytest.raises(ConfigError, match="no expert 'base'"):
        router.without("base")


def test_an_empty_library_is_refused() -> None:
    with pytest.raises(ConfigError, match="library is empty"):
        PilotRouter(EXPERTS, Pilots(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)))
    with pytest.raises(ConfigError, match="more experts"):
        PilotRouter(EXPERTS[:2], Pilots(array([1, 0]), np.array([2])))


def test_nearest_neighbours_by_hand() -> None:
    # Near [1, 0] expert one gains more on the whole, although the very nearest is the base's.
    vectors = array([1, 0], [0.9, 0.1], [0.9, -0.1], [-1, 0])
    utilities = np.array([[1.0, 0.9, 0], [0.0, 0.8, 0], [0.0, 0.8, 0], [0, 0, 1.0]])
    assert chosen(KnnRouter(EXPERTS, vectors, utilities, k=3), [1, 0], [-1, 0]) == ["one", "one"]
    assert chosen(KnnRouter(EXPERTS, vectors, utilities, k=1), [1, 0], [-1, 0]) == ["base", "two"]
    everything = KnnRouter(EXPERTS, vectors, utilities, k=99)
    assert chosen(everything, [1, 0]) == ["one"]


def test_classifiers_learn_their_labels() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    centres = np.array([[2, 0], [0, 2], [-2, -2]])
    vectors = (centres[labels] + 0.3 * generator.normal(size=(90, 2))).astype(np.float32)
    for router in (
        classification_head(EXPERTS, vectors, labels),
        expert_classifiers(EXPERTS, vectors, labels),
    ):
        assert chosen(router, [2, 0], [0, 2], [-2, -2]) == list(EXPERTS)


def test_classifiers_with_one_or_two_labels() -> None:
    vectors = array([1, 0], [0.9, 0], [0, 1], [0, 0.9])
    for make in (classification_head, expert_classifiers):
        only = make(EXPERTS, vectors, np.array([2, 2, 2, 2]))
        assert chosen(only, [1, 0]) == ["two"]
        both = make(EXPERTS, vectors, np.array([0, 0, 2, 2]))
        assert chosen(both, [1, 0], [0, 1]) == ["base", "two"]


def test_a_few_instances_of_one_expert_are_not_drowned() -> None:
    generator = np.random.default_rng(1)
    many = generator.normal(loc=(2, 0), size=(300, 2))
    few = generator.normal(loc=(0, 2), size=(10, 2))
    vectors = np.concatenate([many, few]).astype(np.float32)
    labels = np.array([0] * 300 + [1] * 10)
    assert chosen(classification_head(EXPERTS, vectors, labels), [0.3, 1.7]) == ["one"]


def test_a_router_of_ones_own_needs_scores_alone() -> None:
    class Mine(VectorRouter):
        def scores(self, vectors: FloatArray) -> FloatArray:
            return np.stack([0 * vectors[:, 0], vectors[:, 0]], axis=1)

    assert chosen(Mine(EXPERTS[:2]), [1, 0], [-1, 0], [0, 0]) == ["one", "base", "base"]


def test_bad_names() -> None:
    with pytest.raises(ConfigError, match="first expert of a router is 'base'"):
        LinearRouter(("one", "base"), array([0, 0], [0, 0]), array([0, 0])[0])
    with pytest.raises(ConfigError, match="two experts have one name"):
        LinearRouter(("base", "one", "one"), array([0, 0]), array([0])[0])
