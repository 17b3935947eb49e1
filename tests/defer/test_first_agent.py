"""The plain choice of an allocator: the first agent, whatever it costs."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.defer.look_first import LookFirst
from pointsman.defer.plain import FirstAgent
from pointsman.errors import ConfigError
from pointsman.protocols import Allocator
from pointsman.types import Answer


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("price", [0.0, 100.0])
def test_the_first_agent_answers_everything(n: int, price: float) -> None:
    allocator: Allocator = FirstAgent(["small", "large"])
    allocation = allocator.allocate(["question"] * n, [[]] * n, price)
    assert allocation.agents == ("small", "large")
    assert allocation.choice.tolist() == [0] * n
    assert allocation.choice.dtype == np.int64
    assert allocation.expected_cost.shape == (n, 2)


def test_how_likely_the_first_one_is_wrong_nobody_knows_before_it_answered() -> None:
    allocation = LookFirst(["small", "large"], [0.0, 0.8], [0.0, 1.0]).allocate(["?"], [[]], 0.1)
    assert allocation.choice.tolist() == [0]
    assert allocation.errors is not None
    np.testing.assert_allclose(allocation.errors, [[np.nan, 0.2]], atol=1e-6)


def test_a_long_question_is_a_dear_one() -> None:
    """Three times what is usual, and three times the price."""
    long = LookFirst(["small", "large"], [0.0, 0.8], [0.0, 1.0], lambda *_: np.full((1, 2), 3.0))
    assert long.allocate(["?"], [[]], 0.1).expected_cost[0, 1] == pytest.approx(0.2 + 0.3)


def test_an_error_that_weighs_twice() -> None:
    """The other is wrong on a fifth: 2 · 0.2 + 0.1 is more than the first one's 1 - 0.6, which without that
    is less than staying.
    """
    sure = [{0: Answer("?", "red", 0.6)}]
    for alpha, choice, other in ((None, 1, 0.3), ([1.0, 2.0], 0, 0.5), ([2.0, 2.0], 1, 0.5)):
        wary = LookFirst(["small", "large"], [0.0, 0.8], [0.0, 1.0], alpha=alpha)
        found = wary.allocate(["?"], [[]], 0.1, sure)
        assert found.choice.tolist() == [choice]
        own = 0.4 * (1.0 if alpha is None else alpha[0])
        assert found.expected_cost[0].tolist() == pytest.approx([own, other])
        assert found.errors is not None
        np.testing.assert_allclose(found.errors, [[0.4, 0.2]], atol=1e-6)


DOWN = Answer("?", "", 0.0, failure="down")
SAID, UNSURE = Answer("?", "red", 0.9), Answer("?", "red", 0.1)


@pytest.mark.parametrize(
    ("may", "seen", "first", "looking"),
    [
        ([1, 1, 1], None, 0, 0),
        ([0, 1, 1], None, 1, 2),  # 0.2 and 1, 0.3 and 0.1
        ([0, 0, 0], None, -1, -1),
        ([0, 0, 0], {0: DOWN}, 0, 0),
        ([0, 1, 0], {0: DOWN}, 1, 0),  # costs 1.2, and no answer 1
        ([0, 0, 1], {0: DOWN}, 2, 2),
        ([0, 0, 0], {0: DOWN, 2: UNSURE}, 2, 2),
        ([1, 1, 1], {0: SAID}, 0, 0),
        ([1, 1, 0], {0: UNSURE}, 0, 0),
    ],
)
def test_who_may_not_be_asked_is_not(
    may: list[int], seen: dict[int, Answer] | None, first: int, looking: int
) -> None:
    names = ["small", "large", "middle"]
    allowed = np.array([may], dtype=bool)
    given = None if seen is None else [seen]
    for allocator, choice in (
        (FirstAgent(names), first),
        (LookFirst(names, [0.0, 0.8, 0.7], [0.0, 1.0, 0.1]), looking),
    ):
        found = allocator.allocate(["?"], [[]], 1.0, given, allowed=allowed)
        assert found.choice.tolist() == [choice]
        assert np.isfinite(found.expected_cost).all()


def test_somebody_has_to_answer() -> None:
    with pytest.raises(ConfigError, match="no agent to answer; configure at least one"):
        FirstAgent([])
