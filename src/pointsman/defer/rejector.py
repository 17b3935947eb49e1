"""The paper's rejector: allocation learned at a price."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pointsman.defer.cost import Choices, Floats
from pointsman.defer.network import Fit, Network, fit

Loss = Callable[[Tensor, Tensor], Tensor]
"""Scores [n, A] and costs [n, A] to a mean loss."""


class Rejector:
    """Scores agents by features; the highest score answers, ties to the lower number."""

    def __init__(self, network: Network) -> None:
        self.scores = network

    @classmethod
    def learn(
        cls, features: npt.NDArray[Any], costs: Floats, loss: Loss, plan: Fit | None = None
    ) -> Rejector:
        """From features [n, d] and the agents' costs [n, A] at one price."""
        known = torch.from_numpy(np.asarray(costs, dtype=np.float32))
        return cls(fit(features, known.shape[1], lambda r, rows: loss(r, known[rows]), plan))

    def allocate(self, features: npt.NDArray[Any]) -> Choices:
        """The agent of each row [n]."""
        return np.asarray(self.scores(features).argmax(axis=1), dtype=np.int64)
