from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.links import FEATURES, links

TITLES = ["Stagecoach (film)", "John Ford", "Ford", "Harvest"]
TEXTS = [
    "Stagecoach (film) Stagecoach was made by John Ford.",
    "John Ford was born in Maine, far from any harvest.",
    "Ford A Ford is a car.",
    "Harvest Nobody knows.",
]
QUESTION = "Where was the maker of Stagecoach born?"


def test_by_hand() -> None:
    """The question names the film, the film its maker; the maker's first name sets apart what is a car."""
    found = links(QUESTION, TITLES, TEXTS)
    assert found.shape == (4, len(FEATURES))
    column = dict(zip(FEATURES, found.T.tolist(), strict=True))
    assert column["title in the question"] == [1, 0, 0, 0]
    assert column["words of the title in the question"] == [1, 0, 0, 0]
    assert column["named by another"] == [0, 1, 1, 1]
    two, one = np.log(3) / 3, np.log(2) / 3
    assert column["named by how many"] == pytest.approx([0, one, two, one])
    assert column["named by one whose title is in the question"] == [0, 1, 1, 0]
    assert column["the same, by words of that title"] == [0, 1, 1, 0]
    assert column["names one whose title is in the question"] == [0, 0, 0, 0]
    assert column["names how many"] == pytest.approx([two, two, 0, 0])


def test_words_count_whole_and_in_whatever_case() -> None:
    titles, texts = ["ART", "Part"], ["ART it is", "Part PARTS of a whole"]
    assert links("the art of it", titles, texts)[:, 0].tolist() == [1, 0]
    assert links("", titles, texts)[:, 2].tolist() == [0, 0]


def test_without_titles_nothing_is_said() -> None:
    assert not links(QUESTION, ["", "(film)"], ["a", "film"]).any()
    assert links(QUESTION, [], []).shape == (0, len(FEATURES))


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=30)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_numbers_stay_within_bounds_and_order_is_no_matter(
    question: str, passages: list[tuple[str, str]], rng: object
) -> None:
    titles, texts = (list(each) for each in zip(*passages, strict=True))
    found = links(question, titles, texts)
    assert (found >= 0).all()
    assert (found <= 1).all()
    order = list(range(len(passages)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    other = links(question, [titles[i] for i in order], [texts[i] for i in order])
    np.testing.assert_array_equal(other, found[order])
