"""What passages say of one another: whose title the question names, and which passages name which.

A question of several steps names where to begin, and what stands there names where to go on. Pure functions
of texts and titles, as in `wording`; passages without titles say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pointsman.types import FloatArray
from pointsman.wording import share, words

FEATURES = (
    "title in the question",
    "words of the title in the question",
    "named by another",
    "named by how many",
    "named by one whose title is in the question",
    "the same, by words of that title",
    "names one whose title is in the question",
    "names how many",
)
"""The columns of `links`. Numbers of passages are logarithms of one more, over 3; the others lie between 0
and 1. A passage is named where its title stands in another's text, word for word.
"""

# "Mercury (planet)": what tells titles apart that are alike is not said in running text.
_APART = re.compile(r"\([^()]*\)")


def links(question: str, titles: Sequence[str], texts: Sequence[str]) -> FloatArray:
    """FEATURES [n, 8] of a question's candidates."""
    n = len(titles)
    if not n:
        return np.zeros((0, len(FEATURES)), dtype=np.float32)
    asked, said = _spaced(question), [_spaced(text) for text in texts]
    names = [_spaced(_APART.sub(" ", title)) for title in titles]
    inside = np.array([bool(name.strip()) and name in asked for name in names], dtype=np.float32)
    there = set(asked.split())
    shared = np.array([share(word in there for word in name.split()) for name in names])
    naming = np.array(
        [
            [bool(name.strip()) and i != j and name in text for j, name in enumerate(names)]
            for i, text in enumerate(said)
        ],
        dtype=np.float32,
    )
    columns = [
        inside,
        shared,
        naming.max(0),
        _many(naming.sum(0)),
        (naming * inside[:, None]).max(0),
        (naming * shared[:, None]).max(0),
        (naming * inside[None]).max(1),
        _many(naming.sum(1)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _spaced(text: str) -> str:
    """The words of a text, case folded, a space around each."""
    return f" {' '.join(words(text))} "


def _many(counts: FloatArray) -> FloatArray:
    return (np.log1p(counts) / 3).astype(np.float32)
