"""Logistic regression of several outcomes at once: convex, so that it is fitted to the end and no seed counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pointsman.errors import InputError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """Chances [n, K] by standardised features [n, d]: σ(x · `weights` [d, K] + `bias` [K])."""

    mean: Floats
    spread: Floats
    weights: Floats
    bias: Floats

    @classmethod
    def learn(
        cls,
        features: npt.NDArray[np.floating],
        outcomes: npt.NDArray[np.floating],
        penalty: float = 1e-3,
        steps: int = 100,
    ) -> Logistic:
        """From features [n, d] and outcomes [n, K] in [0, 1], by the mean cross-entropy.

        `penalty` is twice the weight of the squared weights beside it; biases are free. Raises
        InputError where there is no row, or something is no number.
        """
        if not len(features):
            raise InputError("there is nothing to learn from: no row of features")
        given = np.ascontiguousarray(features, dtype=np.float32)
        if not (np.isfinite(given).all() and np.isfinite(outcomes).all()):
            raise InputError("a feature or an outcome is not a number (NaN or infinite)")
        mean, spread = given.mean(axis=0), given.std(axis=0)
        spread = np.where(spread > 1e-6, spread, 1).astype(np.float32)
        x = torch.from_numpy((given - mean) / spread)
        y = torch.from_numpy(np.asarray(outcomes, dtype=np.float32))
        weights = torch.zeros(x.shape[1], y.shape[1], requires_grad=True)
        share = y.mean(0).clamp(1e-4, 1 - 1e-4)
        bias = (share / (1 - share)).log().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weights, bias], max_iter=steps, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            # A sum over outcomes: each is fitted as if it were alone.
            loss = binary_cross_entropy_with_logits(x @ weights + bias, y) * y.shape[1]
            loss = loss + penalty / 2 * weights.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return cls(mean, spread, weights.detach().numpy(), bias.detach().numpy())

    def __call__(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Chances [n, K]."""
        logits = ((features - self.mean) / self.spread) @ self.weights + self.bias
        return np.asarray(expit(logits.astype(np.float64)))


def log_odds(chances: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """log(p / (1 - p)) of chances, kept away from 0 and 1 so that it is finite."""
    clipped = np.clip(chances, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped / (1 - clipped)))
