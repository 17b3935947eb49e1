"""A small network over features: what rejectors and verifiers are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pointsman.errors import InputError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fit:
    """How it is trained. `hidden` 0 makes it linear; `decay` is AdamW's."""

    hidden: int = 64
    epochs: int = 10
    batch: int = 256
    learning_rate: float = 2e-3
    decay: float = 0.1
    seed: int = 0


class Network:
    """Features [n, d] to outputs [n, k]: standardised, and one hidden layer where there is one."""

    def __init__(self, mean: Tensor, spread: Tensor, layers: nn.Module) -> None:
        self._mean = mean
        self._spread = spread
        self._layers = layers

    def __call__(self, features: npt.NDArray[np.floating]) -> Floats:
        """Outputs [n, k] of features [n, d]."""
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
            found: Floats = self._layers((given - self._mean) / self._spread).numpy()
        return found


def fit(
    features: npt.NDArray[np.floating],
    outputs: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    plan: Fit | None = None,
) -> Network:
    """A network that makes `loss` small: it is called with outputs [b, k] and the batch's rows [b].

    The same call gives the same network on the same machine. Raises InputError where there is no row,
    or a feature is no number.
    """
    plan = plan or Fit()
    given = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    if not len(given):
        raise InputError("there is nothing to learn from: no row of features")
    if not bool(torch.isfinite(given).all()):
        raise InputError("a feature is not a number (NaN or infinite)")
    generator = torch.Generator().manual_seed(plan.seed)
    mean, spread = given.mean(0), given.std(0, correction=0)
    spread = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    standard = (given - mean) / spread
    layers = _layers(given.shape[1], plan.hidden, outputs, generator)
    optimizer = torch.optim.AdamW(
        layers.parameters(), lr=plan.learning_rate, weight_decay=plan.decay
    )
    steps = plan.epochs * -(-len(given) // plan.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, steps)
    for _ in range(plan.epochs):
        for rows in torch.split(torch.randperm(len(given), generator=generator), plan.batch):
            optimizer.zero_grad()
            loss(layers(standard[rows]), rows).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(layers.parameters(), 5.0)
            optimizer.step()
            schedule.step()
    return Network(mean, spread, layers.requires_grad_(False))


def _layers(width: int, hidden: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    sizes = [width, hidden, outputs] if hidden else [width, outputs]
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(sizes)):
        # Nobody else's draws are moved by an initialisation that is not used.
        linear = nn.utils.skip_init(nn.Linear, before, after)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            linear.weight.normal_(std=before**-0.5, generator=generator)
            linear.bias.zero_()
        layers += [nn.GELU(), linear] if i else [linear]
    return nn.Sequential(*layers)
