"""The plain choice of a selector: the best k, and what retrieval said where they tie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.errors import ConfigError
from pointsman.protocols import Selector
from pointsman.select.plain import TopK
from pointsman.types import Passage


def chosen(k: int, *relevance: float) -> list[int]:
    selector: Selector = TopK(k)
    passages = [Passage(str(i), "text") for i in range(len(relevance))]
    order = selector.select("question", passages, np.asarray(relevance, dtype=np.float32))
    assert order.dtype == np.int64
    return [int(i) for i in order]


def test_the_best_first() -> None:
    assert chosen(2, 0.1, 0.9, 0.5) == [1, 2]
    assert chosen(9, 0.1, 0.9, 0.5) == [1, 2, 0]
    assert chosen(3) == []


def test_ties_keep_the_order_of_retrieval() -> None:
    assert chosen(3, 1, 1, 1, 1) == [0, 1, 2]
    assert chosen(4, 0.5, 0.9, 0.5, 0.9) == [1, 3, 0, 2]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), max_size=12), st.integers(1, 15))
def test_nothing_better_is_left_out(relevance: list[float], k: int) -> None:
    order = chosen(k, *relevance)
    assert len(order) == len(set(order)) == min(k, len(relevance))
    assert [relevance[i] for i in order] == sorted(relevance, reverse=True)[:k]


@pytest.mark.parametrize("k", [0, -1])
def test_a_reader_needs_something_to_read(k: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 1 passage, not {k}"):
        TopK(k)
