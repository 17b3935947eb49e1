"""What decisions cost: by hand, at the edges, and where nothing can be computed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.defer.cost import (
    Pricing,
    Unit,
    alike,
    cheapest,
    in_unit,
    one_agent,
    taken,
    to_dearest,
)
from pointsman.errors import ConfigError, InputError
from pointsman.trace import Cost


def test_costs_by_hand() -> None:
    pricing = Pricing(("main", "big"), np.array([1.0, 2.0]), np.array([0.0, 0.3]))
    costs = pricing.costs([[0.0, 0.0], [1.0, 0.5], [0.25, math.nan]])
    # An agent that gave nothing is wrong.
    assert costs == pytest.approx(np.array([[0.0, 0.3], [1.0, 1.3], [0.25, 2.3]]))
    choice = cheapest(costs)
    assert choice.tolist() == [0, 0, 0]
    assert taken(costs, choice).tolist() == [0.0, 1.0, 0.25]


def test_a_price_is_of_the_dearest_agent() -> None:
    pricing = Pricing.at(0.2, ["a", "b", "c"], [1.0, 4.0, 2.0])
    assert pricing.beta == pytest.approx([0.05, 0.2, 0.1])
    assert pricing.alpha.tolist() == [1, 1, 1]
    heavy = Pricing.at(1.0, ["a", "b"], [1.0, 4.0], [1.0, 0.5]).scaled(0.2)
    assert (heavy.alpha.tolist(), heavy.beta.tolist()) == ([1.0, 0.5], [0.05, 0.2])
    # A question that takes the second twice what is usual.
    assert heavy.costs([[1.0, 1.0]], np.array([[1.0, 2.0]])).tolist() == [[1.05, 0.9]]
    with pytest.raises(ConfigError, match="alpha of b must be 0 or more, not nan"):
        Pricing.at(0.2, ["a", "b"], [1.0, 4.0], [1.0, math.nan])
    assert Pricing.at(0.2, ["a", "b"], [0.0, 0.0]).beta.tolist() == [0, 0]


def test_ties_go_to_the_main_agent() -> None:
    assert cheapest([[0.5, 0.5, 0.5], [0.5, 0.2, 0.2]]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("alpha", "beta", "said"),
    [
        ([1.0, -1.0], [0.0, 0.0], "alpha of big must be 0 or more, not -1.0"),
        ([1.0, 1.0], [0.0, math.nan], "beta of big must be 0 or more, not nan"),
        ([1.0, 1.0], [math.inf, 0.0], "beta of main must be 0 or more, not inf"),
        ([1.0], [0.0, 0.0], "1 values of alpha for 2 agents"),
    ],
)
def test_prices_that_are_none(alpha: list[float], beta: list[float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pricing(("main", "big"), np.array(alpha), np.array(beta))
    with pytest.raises(ConfigError, match="a price must be 0 or more"):
        Pricing.at(-0.1, ["a"], [1.0])
    with pytest.raises(InputError, match="errors of 1 agents are wanted"):
        Pricing.at(0.1, ["a"], [1.0]).costs([0.0, 1.0])


def test_both_ends_of_a_span_are_one_agents() -> None:
    start = [[2.0, 0.0, 0.0], [2.0, 1.9, 0.0], [0.0, 0.0, 5.0]]
    end = [[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [4.0, 0.0, 0.0]]
    # Agreed; the second is nearly as good at the start and far better at the end; the surer one.
    assert one_agent(start, end).tolist() == [0, 1, 2]


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(-5, 5))
def test_one_agent_for_one_view(scores: list[float], shift: float) -> None:
    """Where both ends are scored alike, but for what is added to all, it is the best of them."""
    other = [each + shift for each in scores]
    chosen = int(one_agent([scores], [other])[0])
    assert scores[chosen] == pytest.approx(max(scores), abs=1e-6)


def test_units_against_the_dearest() -> None:
    assert to_dearest([1, 4]).tolist() == [0.25, 1.0]
    assert to_dearest([0.0, 0.0]).tolist() == [0.0, 0.0]
    assert to_dearest([]).tolist() == []


@pytest.mark.parametrize("wrong", [math.inf, math.nan, -1.0])
def test_units_that_are_none(wrong: float) -> None:
    """Infinity over infinity would be no number, and every decision with it."""
    with pytest.raises(ConfigError, match=f"must be 0 or more, not {wrong}"):
        to_dearest([1.0, wrong])


@pytest.mark.parametrize(("unit", "found"), [("dollars", 0.0), ("gflops", 3.0), ("seconds", None)])
def test_only_money_may_be_nothing(unit: Unit, found: float | None) -> None:
    assert in_unit(Cost(gflops=3.0), unit) == found


def test_questions_that_take_about_as_much() -> None:
    """Powers of 1.1, agent by agent; what takes nothing is told from what takes little."""
    times = [[1.0, 1.0], [1.04, 0.96], [2.0, 1.0], [1.0, 0.0], [2.04, 1.02]]
    found = {tuple(rows.tolist()): factor.tolist() for rows, factor in alike(times)}
    assert set(found) == {(0, 1), (2, 4), (3,)}
    assert found[0, 1] == [1, 1]
    assert found[2, 4] == pytest.approx([1.1**7, 1])  # 1.95; 2 is 1.1 to the power of 7.3
    assert found[(3,)] == [1, 0]
    assert alike(np.zeros((0, 2))) == []


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8), st.integers(0, 7))
def test_how_much_a_question_takes_is_its_own_affair(times: list[float], one: int) -> None:
    """The same alone and together with others, and within half a step of what it is."""
    one %= len(times)
    ((_, alone),) = alike([[times[one]]])
    (together,) = (f for rows, f in alike([[each] for each in times]) if one in rows)
    assert together == alone
    assert 1.1**-0.51 < alone[0] / times[one] < 1.1**0.51
