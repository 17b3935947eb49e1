"""Keeps what a model is tested on out of what it is trained on, by the questions' text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import TypeVar

from pointsman.errors import InputError

T = TypeVar("T")


def normalise(question: str) -> str:
    """A question's text without what does not tell two questions apart.

    Compatibility forms and case are folded, whatever is no letter, mark or digit becomes one space.
    A text of nothing else stays as it is, without outer space.
    """
    folded = unicodedata.normalize("NFKC", question).casefold()
    kept = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in folded)
    return " ".join(kept.split()) or question.strip()


def overlap(train: Iterable[str], test: Iterable[str]) -> frozenset[str]:
    """The normalised questions that stand in both."""
    return frozenset(map(normalise, train)) & frozenset(map(normalise, test))


def refuse_overlap(
    train: Iterable[str], test: Iterable[str], what: str = "the training data"
) -> None:
    """Raise InputError, with one of them, where test questions stand among the training questions."""
    if both := overlap(train, test):
        raise InputError(
            f"{what} holds {len(both)} questions of a test part, such as {min(both)!r}; "
            "take them out before training"
        )


def without(train: Iterable[T], test: Iterable[str], text: Callable[[T], str]) -> list[T]:
    """The training items whose question, `text(item)`, does not stand in the test part."""
    held_out = frozenset(map(normalise, test))
    return [item for item in train if normalise(text(item)) not in held_out]
