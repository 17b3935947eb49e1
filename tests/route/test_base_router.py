"""The plain choice of a router: the base, and no vector computed for it."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.protocols import Router
from pointsman.route.plain import BASE, BaseRouter
from pointsman.types import FloatArray


class Texts:
    def __init__(self, *texts: str) -> None:
        self.texts = texts

    @property
    def vectors(self) -> FloatArray:
        raise AssertionError("the plain router looks at no vector")

    @property
    def features(self) -> FloatArray:
        raise AssertionError("nor at any feature")


@pytest.mark.parametrize("n", [0, 1, 3])
def test_all_weight_on_the_base(n: int) -> None:
    router: Router = BaseRouter()
    routing = router.route(Texts(*"abc"[:n]))
    assert routing.experts == (BASE,)
    assert routing.weights.dtype == np.float32
    assert routing.weights.tolist() == routing.scores.tolist() == [[1.0]] * n
