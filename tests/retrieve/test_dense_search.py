from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.deadline import Deadline
from pointsman.errors import DeadlineError
from pointsman.retrieve import dense
from pointsman.retrieve.dense import top_k
from pointsman.types import FloatArray


def unit(n: int, d: int, seed: int) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 70), st.integers(0, 99), st.booleans())
def test_equals_sorting_everything(m: int, n: int, k: int, seed: int, masked: bool) -> None:
    vectors, queries = unit(m, 6, seed), unit(n, 6, seed + 1)
    # Equal rows, so that there are ties.
    vectors[1::3] = vectors[: len(vectors[1::3])]
    allowed = np.random.default_rng(seed).random(m) < 0.5 if masked else None
    for query, (rows, scores) in zip(queries, top_k(queries, vectors, k, allowed), strict=True):
        exact = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        candidates = [i for i in range(m) if allowed is None or allowed[i]]
        expected = sorted(candidates, key=lambda i: (-exact[i], i))[:k]
        assert rows.tolist() == expected
        np.testing.assert_allclose(scores, exact[expected])


def test_a_batch_in_blocks_equals_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = unit(500, 16, 0), unit(7, 16, 1)
    whole = top_k(queries, vectors, 10)
    monkeypatch.setattr(dense, "_BLOCK", 1000)
    for one, (rows, scores) in zip(queries, whole, strict=True):
        alone = top_k(one[None], vectors, 10)[0]
        assert alone[0].tolist() == rows.tolist()
        assert alone[1].tolist() == scores.tolist()
    blocks = top_k(queries, vectors, 10)
    assert [rows.tolist() for rows, _ in blocks] == [rows.tolist() for rows, _ in whole]


def test_only_equal_vectors_come_in_row_order() -> None:
    vectors = np.repeat(unit(1, 16, 0), 9000, axis=0)
    assert top_k(unit(1, 16, 1), vectors, 5)[0][0].tolist() == [0, 1, 2, 3, 4]


def test_stops_at_the_deadline() -> None:
    late = Deadline()
    late.cancel()
    with pytest.raises(DeadlineError, match="searching the vectors"):
        top_k(unit(1, 4, 0), unit(3, 4, 1), 1, deadline=late)
