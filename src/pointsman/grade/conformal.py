"""Sets of grades that hold the true one as often as promised: split-conformal prediction.

A nonconformity score of each grade is compared with a quantile of the true grades' scores on
held-out data. Coverage of at least 1 - α holds on average over examples that are exchangeable with
the held-out ones, whatever the model (Vovk, Gammerman & Shafer 2005); pairs of one question are not
exchangeable with pairs of another, so hold out some of each question's, or one pair a question,
where the promise must be exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError
from pointsman.grade.scaling import distributions, graded

Floats = npt.NDArray[np.float64]

_EVERYTHING = 1.0  # no score is higher


def lac(probabilities: Floats) -> Floats:
    """1 - p of each grade [n, G]: the smallest sets on average (Sadinle, Lei & Wasserman 2019).

    Sets may have gaps, and are empty where no grade is likely enough.
    """
    return 1 - np.minimum(probabilities, 1)


def ordinal(probabilities: Floats) -> Floats:
    """The mass of what is taken before each grade [n, G], in [0, 1].

    Grades are taken from the likeliest outwards, always the likelier of the two neighbours, the
    lower in a tie: adaptive prediction sets (Romano, Sesia & Candès 2020, arXiv 2006.02544, without
    its randomisation) in the order of Lu, Angelopoulos & Pomerantz 2022 (arXiv 2207.02238). Sets
    are contiguous and never empty, wider where the model is unsure.
    """
    n, grades = probabilities.shape
    rows = np.arange(n)
    # A column of -1 at either side, which is never the likelier neighbour.
    walled = np.pad(probabilities, ((0, 0), (1, 1)), constant_values=-1.0)
    low = high = probabilities.argmax(axis=1)
    taken = probabilities[rows, low]
    scores = np.zeros((n, grades))
    for _ in range(grades - 1):
        below, above = walled[rows, low], walled[rows, high + 2]
        down = below >= above
        low, high = low - down, high + ~down
        scores[rows, np.where(down, low, high)] = taken
        taken = taken + np.where(down, below, above)
    return np.minimum(scores, _EVERYTHING)


SCORES: Mapping[str, Callable[[Floats], Floats]] = {"lac": lac, "ordinal": ordinal}


@dataclass(frozen=True, slots=True)
class Conformal:
    """Sets of all grades whose score, one of `SCORES`, is at most `threshold`."""

    score: str
    threshold: float

    def __post_init__(self) -> None:
        if self.score not in SCORES or not 0 <= self.threshold <= _EVERYTHING:
            raise ValueError(
                f"no conformal sets by score {self.score!r} and threshold {self.threshold}"
            )

    @classmethod
    def fit(
        cls,
        probabilities: npt.ArrayLike,
        labels: npt.ArrayLike,
        alpha: float = 0.1,
        score: str = "ordinal",
    ) -> Self:
        """Fit to held-out probabilities [n, G] and true grades [n] for coverage 1 - `alpha`.

        The threshold is the ⌈(n + 1)(1 - α)⌉-th smallest score of a true grade; where n is too
        small for there to be one, n < 1/α - 1, every set holds all grades. Raises ConfigError for
        an alpha outside (0, 1) or an unknown score, InputError as `scaling` does.
        """
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie between 0 and 1, for example 0.1, not {alpha}")
        if score not in SCORES:
            raise ConfigError(f"score must be one of {', '.join(SCORES)}, not {score!r}")
        given, true = graded(probabilities, labels)
        n = len(given)
        rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)  # 10 · (1 - 0.7) is above 3 by rounding
        if rank > n:
            return cls(score, _EVERYTHING)
        of_true = SCORES[score](given)[np.arange(n), true]
        return cls(score, float(np.partition(of_true, rank - 1)[rank - 1]))

    def sets(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which grades each set holds [n, G]. Raises InputError for what are no probabilities."""
        return np.asarray(SCORES[self.score](distributions(probabilities)) <= self.threshold)
