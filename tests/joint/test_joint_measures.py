from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pointsman.deadline import Deadline
from pointsman.joint.asked import Asked, ungraded
from pointsman.joint.measures import measure, ranked
from pointsman.select.plain import TopK
from pointsman.types import FloatArray, Passage, Reading, Selection, Span

PASSAGES = tuple(
    Passage(str(i), text)
    for i, text in enumerate(["a green sea", "the red deer", "Red clay", "blue ink"])
)


def asked(answers: tuple[str, ...], supporting: tuple[int, ...] = ()) -> Asked:
    return Asked("q", "which colour?", answers, PASSAGES, ungraded(PASSAGES), supporting)


class SecondWord:
    """Reads the second word of the last passage that it is shown."""

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        n_best: int = 1,
        deadline: Deadline | None = None,
    ) -> list[Reading]:
        found = []
        for given in passages:
            spans: tuple[Span, ...] = ()
            if given:
                text = given[-1].text.split()[1]
                spans = (Span(text, len(given) - 1, 0, len(text), 1.0, 0.5),)
            found.append(Reading(spans, 0.5, 0.5))
        return found


class Chosen:
    def __init__(self, *order: int) -> None:
        self.order = np.array(order, dtype=np.int64)

    def select(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> list[Selection]:
        chances = np.array([0.4, 0.2, 0.1, 0.3], np.float32)
        return [Selection(self.order, chances) for _ in questions]


def test_by_hand() -> None:
    found = measure([asked(("red",), (1, 3))], TopK(2), SecondWord())
    # "red" of the second passage; one of two supporting ones was read, one of two read supports.
    assert (found.em[0], found.f1[0], found.passages[0], found.held[0]) == (1, 1, 2, 1)
    assert (found.precision[0], found.found[0]) == (0.5, 0.5)
    assert {k: float(each[0]) for k, each in found.recall.items()} == {1: 0, 3: 1, 5: 1}
    # In the selector's order: 3, then 0 and 1 by their chances; nothing of it holds the answer at 1.
    other = measure([asked(("red",))], Chosen(3), SecondWord())
    assert (other.em[0], other.held[0]) == (0, 0)
    assert {k: float(each[0]) for k, each in other.recall.items()} == {1: 0, 3: 1, 5: 1}
    assert np.isnan(other.precision[0])
    assert found.means() == pytest.approx(
        {"em": 100, "f1": 100, "recall@1": 0, "recall@3": 100, "recall@5": 100, "passages": 2}
    )


def test_nothing_read_is_no_answer() -> None:
    found = measure([asked(("red",), (1,))], Chosen(), SecondWord())
    assert (found.em[0], found.f1[0], found.passages[0], found.found[0]) == (0, 0, 0, 0)
    assert np.isnan(found.precision[0])


def test_the_whole_order() -> None:
    chances = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    assert ranked(Selection(np.array([1]), chances), 4) == [1, 3, 2, 0]
    assert ranked(Selection(np.array([1])), 4) == [1, 0, 2, 3]
