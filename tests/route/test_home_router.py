from __future__ import annotations

import numpy as np
import pytest

from pointsman.errors import ConfigError
from pointsman.protocols import Queries, Router
from pointsman.route.home import HomeRouter
from pointsman.types import FloatArray, Routing


class Fixed:
    """A router of given weights."""

    def __init__(self, weights: FloatArray) -> None:
        self._weights = weights

    def route(self, queries: Queries) -> Routing:
        shift = np.zeros(len(self._weights), dtype=np.float32)
        return Routing(("base", "law"), self._weights, -self._weights, shift)


class Nothing:
    """Queries that nobody looks at."""

    texts: tuple[str, ...] = ()
    vectors = features = np.zeros((0, 1), dtype=np.float32)


def test_the_bases_share_goes_home() -> None:
    weights = np.array([[1, 0], [0.25, 0.75], [0, 1]], dtype=np.float32)
    router = HomeRouter(Fixed(weights), "ours")
    assert isinstance(router, Router)
    routing = router.route(Nothing())
    assert routing.experts == ("base", "law", "ours")
    assert routing.weights.tolist() == [[0, 0, 1], [0, 0.75, 0.25], [0, 1, 0]]
    assert routing.scores[:, 2].tolist() == [-1, -0.25, 0]
    assert routing.dense_shift is not None
    # The other router's own weights stay as they were.
    assert weights[0].tolist() == [1, 0]


def test_an_expert_is_not_routed_to_twice() -> None:
    with pytest.raises(ConfigError, match="'law' is routed to already"):
        HomeRouter(Fixed(np.ones((1, 2), dtype=np.float32)), "law").route(Nothing())
