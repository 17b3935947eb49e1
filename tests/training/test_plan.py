"""What a plan says of each step."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.training.plan import evaluation_points


@pytest.mark.parametrize(
    ("batches", "group", "evaluations", "expected"),
    [
        (6, 1, 2, {3, 6}),
        (7, 1, 2, {4, 7}),
        (7, 2, 2, {4, 7}),  # steps of 2, 2, 2 and 1
        (10, 4, 1, {10}),
        (10, 4, 2, {8, 10}),
        (3, 8, 2, {3}),
        (2, 1, 5, {1, 2}),
    ],
)
def test_evaluations_by_hand(
    batches: int, group: int, evaluations: int, expected: set[int]
) -> None:
    assert evaluation_points(batches, group, evaluations) == expected


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 20))
def test_evaluations_come_at_ends_of_steps_and_at_the_end(
    batches: int, group: int, evaluations: int
) -> None:
    points = evaluation_points(batches, group, evaluations)
    assert max(points) == batches
    assert all(point == batches or point % group == 0 for point in points)
    assert len(points) == min(evaluations, math.ceil(batches / group))
