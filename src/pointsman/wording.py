"""How much of a question's wording a passage repeats: what a subword encoder sees only roughly.

In product search and other technical domains it is the exact word, part number or size that counts,
misspelt as often as not. Pure functions of two texts, with nothing learned and no collection behind
them, so a grader takes them along into any domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from pointsman.types import FloatArray

FEATURES = (
    "words found",
    "words found as parts of words",
    "likeness of words, mean",
    "likeness of words, least",
    "likeness of the first word",
    "likeness of the last word",
    "numbers found",
    "has numbers",
    "neighbours found as neighbours",
    "whole phrase found",
    "length of the question",
    "length of the passage",
)
"""The columns of `wording`; all but the lengths lie between 0 and 1. Likeness is of the likest word of
the passage, by shared letter trigrams (Jaccard). Lengths are logarithms of one plus the words, over 5."""

_WORD = re.compile(r"[^\W\d_]+|\d+")
# A part of fewer letters is found in almost any word.
_LEAST_PART = 3


def wording(pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """FEATURES [n, 12] of questions and passages."""
    rows = [_of(words(question), words(passage)) for question, passage in pairs]
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(FEATURES))


def _of(question: tuple[str, ...], passage: tuple[str, ...]) -> list[float]:
    there = frozenset(passage)
    lengths = [float(np.log1p(len(each))) / 5 for each in (question, passage)]
    if not question:
        return [0.0] * (len(FEATURES) - 2) + lengths
    likeness = [_likest(word, there) for word in question]
    numbers = [word for word in question if word.isdigit()]
    together = frozenset(pairwise(passage))
    neighbours = list(pairwise(question))
    phrase = f" {' '.join(question)} " in f" {' '.join(passage)} "
    return [
        share(word in there for word in question),
        share(_part_of(word, there) for word in question),
        sum(likeness) / len(likeness),
        min(likeness),
        likeness[0],
        likeness[-1],
        share(word in there for word in numbers),
        float(bool(numbers)),
        share(pair in together for pair in neighbours),
        float(phrase),
        *lengths,
    ]


def share(found: Iterable[bool]) -> float:
    """How many of them are true, 0 of none."""
    given = list(found)
    return sum(given) / len(given) if given else 0.0


def _part_of(word: str, words: frozenset[str]) -> bool:
    """Whether the word is a part of one of them, or one of them a part of it."""
    if word in words:
        return True
    return any(
        min(len(word), len(other)) >= _LEAST_PART and (word in other or other in word)
        for other in words
    )


def _likest(word: str, words: frozenset[str]) -> float:
    if word in words:
        return 1.0
    mine = _trigrams(word)
    return max((_jaccard(mine, _trigrams(other)) for other in words), default=0.0)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


@lru_cache(maxsize=100_000)
def _trigrams(word: str) -> frozenset[str]:
    marked = f"^{word}$"
    return frozenset(marked[i : i + 3] for i in range(len(marked) - 2))


@lru_cache(maxsize=10_000)
def words(text: str) -> tuple[str, ...]:
    """Runs of letters and runs of digits, case folded."""
    return tuple(_WORD.findall(text.casefold()))
