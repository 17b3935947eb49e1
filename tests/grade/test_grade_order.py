"""Relevance of probabilities, and the order of candidates by relevance and retrieval score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.grade.relevance import best_first, expected_relevance

shares = st.floats(0, 1, width=32)
candidates = st.lists(st.tuples(shares, st.floats(-100, 100, width=32)), max_size=12)


def test_expected_relevance() -> None:
    three = np.asarray([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.3, 0.5]], dtype=np.float32)
    assert expected_relevance(three) == pytest.approx([0, 0.5, 1, 0.65])
    two = np.asarray([[0.25, 0.75]], dtype=np.float32)
    assert expected_relevance(two) == pytest.approx([0.75])
    assert expected_relevance(np.ones((2, 1), dtype=np.float32)).tolist() == [1, 1]
    assert expected_relevance(np.ones((0, 3), dtype=np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        # Scores 9, 7, 5, 5 are 1, 0.5, 0, 0 of their range; relevance is 0, 0.4, 0.7, 0.7.
        (0.0, [0, 1, 2, 3]),
        (0.5, [0, 1, 2, 3]),  # 0.5, 0.45, 0.35, 0.35
        (0.6, [1, 2, 3, 0]),  # 0.4, 0.44, 0.42, 0.42
        (0.75, [2, 3, 1, 0]),  # 0.25, 0.425, 0.525, 0.525
        (1.0, [2, 3, 1, 0]),
    ],
)
def test_between_relevance_and_the_retrieval_score(weight: float, expected: list[int]) -> None:
    assert best_first([0, 0.4, 0.7, 0.7], [9, 7, 5, 5], weight).tolist() == expected


def test_scores_that_are_all_equal_leave_it_to_relevance() -> None:
    assert best_first([0.1, 0.9, 0.5], [3, 3, 3], 0.01).tolist() == [1, 2, 0]
    assert best_first([], [], 0.5).tolist() == []
    assert best_first([0.2], [1], 0.5).tolist() == [0]


@given(candidates, shares)
def test_an_order_is_a_permutation_whatever_the_scale(
    given: list[tuple[float, float]], weight: float
) -> None:
    relevance, scores = np.array(given).reshape(-1, 2).T
    order = best_first(relevance, scores, weight).tolist()
    assert sorted(order) == list(range(len(given)))
    # Powers of two change no digit of a score.
    assert best_first(relevance, 8 * scores, weight).tolist() == order


@given(candidates, shares)
def test_without_an_opinion_the_order_of_retrieval_stands(
    given: list[tuple[float, float]], weight: float
) -> None:
    relevance, scores = np.array(given).reshape(-1, 2).T
    scores = np.sort(scores)[::-1]
    kept = list(range(len(given)))
    assert best_first(relevance, scores, 0.0).tolist() == kept
    assert best_first(np.ones(len(given)), scores, weight).tolist() == kept


@given(candidates.filter(len), shares, shares, st.data())
def test_who_becomes_more_relevant_does_not_fall(
    given: list[tuple[float, float]], weight: float, more: float, data: st.DataObject
) -> None:
    relevance, scores = np.array(given).T
    raised = data.draw(st.integers(0, len(given) - 1))
    before = best_first(relevance, scores, weight).tolist().index(raised)
    relevance[raised] = max(relevance[raised], more)
    assert best_first(relevance, scores, weight).tolist().index(raised) <= before
