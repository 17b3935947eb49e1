"""The selection tables on outcomes that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pointsman.experiments.selection.rows import APART, BOUND, BOUNDS, DRO, PLAIN, Row, ordered
from pointsman.experiments.selection.tables import Found, difference_table, main_table
from pointsman.joint.asked import Asked, ungraded
from pointsman.joint.measures import CUTS, Measured, ranked
from pointsman.types import Passage

COUNT = 4


def asked(clusters: Sequence[str]) -> list[Asked]:
    passages = (Passage("0", "a red sea"),)
    return [
        Asked(str(i), "which?", ("red",), passages, ungraded(passages), (0,), cluster)
        for i, cluster in enumerate(clusters)
    ]


def measured(f1: Sequence[float], em: Sequence[float], found: Sequence[float]) -> Measured:
    ones = np.ones(COUNT)
    return Measured(
        np.array(em),
        np.array(f1),
        dict.fromkeys(CUTS, ones),
        ones,
        np.array(found, dtype=np.float64),
        ones,
        ones,
    )


def row(name: str, kind: str, f1: float, em: Sequence[float] = (0, 0, 0, 0)) -> Found:
    def never(seed: int) -> None:
        raise AssertionError("a table trains nothing")

    made = measured([f1] * COUNT, em, [1, 1, 0.5, np.nan])
    return Found(Row(name, kind, never), [made])  # type: ignore[arg-type]


def test_the_first_of_an_order_leave_the_others_where_they_stand() -> None:
    assert ranked(ordered([3, 1, 0, 2], 2), 4) == [3, 1, 0, 2]
    assert ranked(ordered(range(4), 1), 4) == [0, 1, 2, 3]
    assert ordered([], 2).order.tolist() == []


def test_wrong_though_all_was_read_by_hand() -> None:
    """Three of four questions have supporting passages, of two all were read, of which one is wrong."""
    table = main_table("t", asked("abcd"), [row(DRO, "paper", 0.5, em=(1, 0, 0, 1))])
    place = [str(getattr(c, "name", c)) for c in table.columns].index("all read, still wrong")
    assert table.rows[0][place] == pytest.approx(0.5)
    nowhere = Found(row(DRO, "paper", 0.5).row, [measured([1] * COUNT, [1] * COUNT, [0.5] * COUNT)])
    assert nowhere.still_wrong() is None


def test_differences_are_from_the_best_that_was_not_trained_together() -> None:
    """A plain row or a control that beats the two apart is what has to be beaten."""
    rows = [
        row(PLAIN, "plain", 0.6),
        row(APART[0], "control", 0.5),
        row(DRO, "paper", 0.65),
        row(BOUND, "bound", 0.8),
    ]
    table = difference_table("t", asked("aabb"), rows)
    assert [each[0] for each in table.rows] == [APART[0], DRO, BOUND]
    assert [each[-1] for each in table.rows] == pytest.approx([-0.5, 0.25, 1.0])
    assert table.notes[0].startswith(f"Against {PLAIN!r}")
    assert "over 2 articles" in table.notes[0]
    assert "over 4 questions" in difference_table("t", asked("0123"), rows).notes[0]
    # The gap is to the best of what was not trained together: a bound too may lack what others learned.
    rows += [row(BOUNDS[1], "bound", 1.0), row(f"{BOUND}, ours", "bound", 0.9)]
    gaps = {each[0]: each[-1] for each in difference_table("t", asked("aabb"), rows).rows}
    assert gaps[DRO] == pytest.approx(0.125)
    assert gaps[f"{BOUND}, ours"] == pytest.approx(0.75)
