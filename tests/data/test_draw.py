"""Some of many, the same every time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.data.draw import drawn


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 3))
def test_so_many_in_their_order_and_none_twice(n: int, count: int, seed: int) -> None:
    chosen = drawn(n, count, seed)
    assert len(chosen) == min(n, count)
    assert chosen == sorted(set(chosen))
    assert chosen == drawn(n, count, seed)


@given(st.integers(1, 40), st.integers(1, 40))
def test_fewer_are_among_more(n: int, count: int) -> None:
    assert set(drawn(n, count - 1)) <= set(drawn(n, count))


@pytest.mark.parametrize("count", [None, 5, 9])
def test_all_where_there_are_no_more(count: int | None) -> None:
    assert drawn(5, count) == [0, 1, 2, 3, 4]


def test_another_seed_draws_others() -> None:
    assert drawn(1000, 10, 0) != drawn(1000, 10, 1)
