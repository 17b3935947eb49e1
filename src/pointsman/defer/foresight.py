"""What can be foreseen of a question before anyone is asked: how easy it looks, and who was right on those nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.defer.logistic import Logistic, log_odds

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating]

NEIGHBOURS = 200
"""Chosen on a record, five-fold: fewer tell chance, more tell of other kinds of questions."""

_SHARE = 5  # of a small record at most every so manieth question is a neighbour
_SHY = 0.03  # penalty of what foresees from hundreds of features
_BLOCK = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Foresight:
    """`easy` says how many of the agents are right; `vectors` [m, d] of unit length are of the questions of a
    record, where each agent was `right` [m, A] or not.
    """

    easy: Logistic
    vectors: Floats
    right: Floats

    @classmethod
    def learn(cls, before: Numbers, right: Numbers) -> Foresight:
        """From what was known before [m, d], and whether each agent was right [m, A] in [0, 1]."""
        easy = Logistic.learn(before, right.mean(axis=1, keepdims=True), _SHY)
        return cls(easy, unit(before), np.asarray(right, dtype=np.float32))

    def __call__(self, before: Numbers) -> Floats:
        """The log-odds of how easy each question looks, and the share of its nearest on which each agent was
        right [n, 1 + A].
        """
        return np.concatenate([log_odds(self.easy(before)), self.nearest(before)], axis=1).astype(
            np.float32
        )

    def nearest(self, before: Numbers) -> Floats:
        """The share of a question's nearest, by the cosine, on which each agent was right [n, A]."""
        count = min(NEIGHBOURS, len(self.vectors) // _SHARE)
        return among_nearest(self.vectors, self.right, unit(before), count)


def among_nearest(
    vectors: Floats, right: Numbers, asked: Floats, count: int = NEIGHBOURS
) -> Numbers:
    """The means of `right` [m, A] among the `count` of the `vectors` [m, d], or all there are, nearest to each
    of those `asked` [n, d]: [n, A]. All are of unit length.
    """
    count = max(1, min(count, len(vectors)))
    found = np.zeros((len(asked), right.shape[1]), dtype=right.dtype)
    for start in range(0, len(asked), _BLOCK):
        rows = slice(start, start + _BLOCK)
        near = np.argpartition(-(asked[rows] @ vectors.T), count - 1, axis=1)[:, :count]
        found[rows] = right[near].mean(axis=1)
    return found


def unit(vectors: Numbers) -> Floats:
    """Vectors [n, d] at length 1; one of no length stays as it is."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
