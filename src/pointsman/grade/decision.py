"""Which grade to name, when only one may be named: not always the likeliest.

Probabilities that are right on average make a rare grade the likeliest one too seldom for macro-F1,
which counts every grade alike. A weight for each grade, chosen on dev, moves the thresholds between
them and leaves the probabilities as they are (for F1 the best rule is such a threshold: Koyejo et
al., "Consistent binary classification with generalized performance metrics", 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.classification import confusion, macro_f1
from pointsman.grade.scaling import graded

# Log weights that are tried, as steps from where a grade stands, and how often each grade's turn comes.
_STEPS = np.linspace(-2, 2, 81)
_ROUNDS = 3
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Decision:
    """Names the grade g of the largest p_g · exp(log_weights_g)."""

    log_weights: tuple[float, ...]

    @classmethod
    def fit(cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Decision:
        """The weights of the best macro-F1 on dev, probabilities [n, G] against grades [n].

        One grade after the other is moved while the others stand; of equally good weights those
        nearest to none are taken. Raises what `scaling.graded` raises.
        """
        p, y = graded(probabilities, labels)
        grades, log_p = p.shape[1], _log(p)
        weights = np.zeros(grades)

        def score(given: npt.NDArray[np.float64]) -> float:
            return float(macro_f1(confusion(y, (log_p + given).argmax(axis=1), grades)))

        best = score(weights)
        for _ in range(_ROUNDS):
            before = best
            for grade in range(grades):
                tried = []
                for step in _STEPS:
                    moved = weights.copy()
                    moved[grade] += step
                    tried.append((score(moved), -abs(float(moved[grade])), moved))
                found, _, moved = max(tried, key=lambda each: each[:2])
                if found > best:
                    best, weights = found, moved
            if best == before:
                break
        return cls(tuple((weights - weights.mean()).tolist()))

    def grades(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The grade that is named for each row of probabilities [n, G]."""
        log_p = _log(np.asarray(probabilities, dtype=np.float64))
        named: npt.NDArray[np.int64] = (log_p + np.array(self.log_weights)).argmax(axis=1)
        return named


def _log(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.log(np.maximum(probabilities, _LEAST))
