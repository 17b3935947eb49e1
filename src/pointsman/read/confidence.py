"""Calibrated confidence: from what the joint distribution says to how often such a reader is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEATURES = 5


def features(
    probability: Floats, no_answer: Floats, passages: Floats, characters: Floats
) -> Floats:
    """What confidence is read from, [n, 5].

    `probability` is the best span's joint probability and `no_answer` that of silence. Their ratio
    splits in two: whether there is an answer at all, 1 - P(no answer), and whether this is it,
    P(span) / (1 - P(no answer)); a reader is trained differently for the two, and is
    over-confident in different ways. Logits of all three, then the logarithms of the number of
    passages, since more of them make the best of them look better, and of the span's characters,
    since long spans are seldom exact.
    """
    answerable = 1 - no_answer
    share = probability / np.maximum(answerable, 1e-9)
    return np.stack(
        [
            _logit(probability),
            _logit(share),
            _logit(answerable),
            np.log(np.maximum(passages, 1)),
            np.log1p(characters),
        ],
        axis=1,
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic calibration (Platt scaling over several features): P(right) = σ(w · x + b)."""

    weights: tuple[float, ...]
    bias: float

    def __post_init__(self) -> None:
        if len(self.weights) != FEATURES:
            raise ValueError(f"{len(self.weights)} calibration weights for {FEATURES} features")

    def apply(self, x: Floats) -> Floats:
        """Confidence [n] in (0, 1) for features [n, 5]."""
        z: Floats = x @ np.asarray(self.weights) + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))), dtype=np.float64)


UNCALIBRATED = Calibration(weights=(1.0, 0.0, 0.0, 0.0, 0.0), bias=0.0)
"""Confidence is the joint probability itself."""


def fit(x: Floats, right: Floats, penalty: float = 1e-2, steps: int = 50) -> Calibration:
    """Fit by Newton's method on the mean log-loss with a small ridge; `right` [n] in 0 … 1.

    Raises ValueError when there is nothing to fit: no rows, or rows that are all right or all wrong.
    """
    if len(x) == 0 or np.all(right == right[0]):
        raise ValueError("calibration needs both right and wrong answers")
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    ridge = penalty * np.diag([1.0] * x.shape[1] + [0.0]) / len(x)
    w = np.zeros(design.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(design @ w, -30, 30)))
        gradient = design.T @ (p - right) / len(x) + ridge @ w
        hessian = (design * (p * (1 - p))[:, None]).T @ design / len(x) + ridge
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(w)), gradient)
        w = w - step
        if np.abs(step).max() < 1e-8:
            break
    return Calibration(weights=tuple(float(v) for v in w[:-1]), bias=float(w[-1]))


def _logit(probability: Floats) -> Floats:
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)
