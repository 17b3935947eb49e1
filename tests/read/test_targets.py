"""From annotators' characters to tokens."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.read.targets import token_span, window_targets

# "[CLS] q [SEP] the red fox ran [SEP]": the passage "the red fox ran" on tokens 3 … 6.
OFFSETS = np.array(
    [[-1, -1], [-1, -1], [-1, -1], [0, 3], [4, 7], [8, 11], [12, 15], [-1, -1]], dtype=np.int64
)
# The same passage's middle, as a later window holds it.
MIDDLE = np.array([[-1, -1], [4, 7], [8, 11], [-1, -1]], dtype=np.int64)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 3, (3, 3)),
        (4, 11, (4, 5)),
        (0, 15, (3, 6)),
        (5, 7, (4, 4)),  # starts inside "red": the whole token is taken
        (4, 10, (4, 5)),  # ends inside "fox"
        (9, 10, (5, 5)),
        (3, 7, (4, 4)),  # the space before belongs to no token
        (4, 8, (4, 4)),  # nor does the space after
    ],
)
def test_tokens_of_characters(start: int, end: int, expected: tuple[int, int]) -> None:
    assert token_span(OFFSETS, start, end) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (4, 7, (1, 1)),
        (4, 11, (1, 2)),
        (0, 3, None),
        (0, 7, None),  # begins before the window
        (8, 15, None),  # ends after it
        (12, 15, None),
        (0, 15, None),
    ],
)
def test_a_window_that_misses_a_part_has_no_answer(
    start: int, end: int, expected: tuple[int, int] | None
) -> None:
    assert token_span(MIDDLE, start, end) == expected


def test_no_passage_tokens() -> None:
    assert token_span(np.full((3, 2), -1, dtype=np.int64), 0, 1) is None


def test_only_a_space_is_no_answer() -> None:
    assert token_span(OFFSETS, 3, 4) is None


def test_several_annotators_share() -> None:
    start, end = window_targets(OFFSETS, [(4, 7), (4, 11), (4, 7), (8, 11)])
    assert start == {4: pytest.approx(0.75), 5: pytest.approx(0.25)}
    assert end == {4: pytest.approx(0.5), 5: pytest.approx(0.5)}


def test_answers_outside_the_window_do_not_take_a_share() -> None:
    assert window_targets(MIDDLE, [(4, 7), (12, 15)]) == ({1: 1.0}, {1: 1.0})


def test_without_an_answer_all_is_on_silence() -> None:
    assert window_targets(MIDDLE, [(12, 15)]) == ({0: 1.0}, {0: 1.0})
    assert window_targets(OFFSETS, []) == ({0: 1.0}, {0: 1.0})


def test_every_answer_of_a_real_window_comes_back(tiny: Backbone) -> None:
    passage = "alpha is red, beta is  dark-blue; gamma: 日本 green."
    (window,) = tiny.windows([("what is beta?", passage)], 64, 0)
    for answer in ("alpha", "red", "beta is  dark-blue", "dark-blue", "日本", "green", passage):
        start = passage.index(answer)
        found = token_span(window.offsets, start, start + len(answer))
        assert found is not None
        first, last = found
        assert passage[window.offsets[first, 0] : window.offsets[last, 1]] == answer
