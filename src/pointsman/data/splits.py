"""Keeps what a model is tested on out of what it is trained on, by the questions' text."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable, Sequence
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


def hold_out(
    items: Sequence[T], text: Callable[[T], str], share: float, seed: int, least: int = 0
) -> tuple[list[T], list[T]]:
    """The items that stay and those held out: `share` of the questions, `least` of them if half allows.

    Items whose questions, `text(item)`, read alike stay together, or a held-out one would stand on
    both sides.
    """
    texts = list(dict.fromkeys(normalise(text(item)) for item in items))
    count = min(max(least, round(share * len(texts))), len(texts) // 2)
    chosen = frozenset(random.Random(seed).sample(texts, count))
    stay = [item for item in items if normalise(text(item)) not in chosen]
    return stay, [item for item in items if normalise(text(item)) in chosen]
