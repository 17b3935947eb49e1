"""The guard against training on what is tested."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.data.splits import hold_out, normalise, overlap, refuse_overlap, without
from pointsman.errors import InputError


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Who won?", "who  won"),
        ("What's the U.S. rate?", "what s the u s rate"),
        ("ＦＵＬＬ width ﬁle", "full width file"),
        ("Straße", "STRASSE"),
        ("54\xa0Mbit/s", "54 mbit s"),
    ],
)
def test_the_same_question_in_other_clothes(left: str, right: str) -> None:
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize(
    ("left", "right"), [("in 1945", "in 1946"), ("café", "cafe"), ("???", "!"), ("です", "てす")]
)
def test_different_questions_stay_apart(left: str, right: str) -> None:
    assert normalise(left) != normalise(right)


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_overlap_is_refused_and_can_be_taken_out() -> None:
    train, test = ["Who won?", "Where?", "who  WON"], ["who won", "When?"]
    assert overlap(train, test) == {"who won"}
    with pytest.raises(
        InputError, match="the reader's data holds 1 questions of a test part, such as 'who won'"
    ):
        refuse_overlap(train, test, "the reader's data")
    kept = without(train, test, str)
    assert kept == ["Where?"]
    refuse_overlap(kept, test)


@given(
    st.lists(st.sampled_from(["a", "A ", "b", "c", "d", "e!", "e"]), max_size=30),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_what_is_held_out_stands_on_one_side_and_is_never_more_than_half(
    questions: list[str], share: float, least: int
) -> None:
    stay, held = hold_out(questions, str, share, 3, least)
    assert sorted(stay + held) == sorted(questions)
    assert not overlap(stay, held)
    texts = {normalise(question) for question in questions}
    assert len(set(map(normalise, held))) == min(
        max(least, round(share * len(texts))), len(texts) // 2
    )
    assert (stay, held) == hold_out(questions, str, share, 3, least)
