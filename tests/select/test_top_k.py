"""The plain choice of a selector: the first k, whatever else is known of them."""

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
    given = np.asarray(relevance, dtype=np.float32)
    (found,) = selector.select(["question"], [passages], [given])
    assert found.order.dtype == np.int64
    assert found.chances is None
    return found.order.tolist()


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), max_size=12), st.integers(1, 15))
def test_the_first_in_the_order_given(relevance: list[float], k: int) -> None:
    """Who puts the candidates in order has weighed their relevance against what retrieval said."""
    assert chosen(k, *relevance) == list(range(len(relevance)))[:k]


@pytest.mark.parametrize("k", [0, -1])
def test_a_reader_needs_something_to_read(k: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 1 passage, not {k}"):
        TopK(k)
