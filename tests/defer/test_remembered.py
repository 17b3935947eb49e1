"""Rows that are kept: computed once, in the order asked for, and not lost while they are in use."""

from __future__ import annotations

import numpy as np

from pointsman.defer.remembered import Remembered


def test_each_is_computed_once_and_those_in_use_stay() -> None:
    asked: list[list[str]] = []

    def lengths(new: list[str]) -> tuple[np.ndarray, list[float]]:
        asked.append(new)
        return np.array([[len(each)] for each in new], dtype=float), [2.0] * len(new)

    remembered = Remembered[str](2)
    rows, took = remembered(["a", "bb", "a"], lengths)
    assert rows.tolist() == [[1], [2], [1]]
    assert took.tolist() == [2, 2, 0]  # once a key
    rows, took = remembered(["bb", "ccc"], lengths)
    assert rows.tolist() == [[2], [3]]
    assert took.tolist() == [0, 2]
    # There are more than two by now: what is asked about again stays, the rest is forgotten.
    assert remembered(["ccc"], lengths)[0].tolist() == [[3]]
    assert remembered(["ccc", "a"], lengths)[0].tolist() == [[3], [1]]
    assert asked == [["a", "bb"], ["ccc"], ["a"]]
