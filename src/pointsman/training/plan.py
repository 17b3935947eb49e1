"""How to train: the settings of a run, and what they say of each step. Pure values and functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pointsman.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. `measure` is the key of `Task.evaluate` that early stopping watches; None: nothing is
    measured, the run goes to its end, and the weights are the last ones.

    `warmup` is the share of all steps in which the learning rate rises linearly; then it falls
    linearly to 0. `evaluations` is the number an epoch; training stops after `patience` of them
    without a new best. `bf16` runs the forward pass in mixed precision. A step takes
    `accumulation` batches of each process and averages their losses.
    """

    measure: str | None
    epochs: int = 3
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    max_grad_norm: float = 1.0
    evaluations: int = 2
    patience: int = 4
    checkpoint_seconds: float = 120.0
    seed: int = 0
    bf16: bool = False
    accumulation: int = 1

    def __post_init__(self) -> None:
        positive = (
            "epochs",
            "learning_rate",
            "max_grad_norm",
            "evaluations",
            "patience",
            "accumulation",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is a share of all steps, 0 to below 1, not {self.warmup}")


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear rise over the first `warmup` share of steps, linear fall to 0 at the last."""
    rise = max(1, math.ceil(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))


def evaluation_points(batches: int, group: int, evaluations: int) -> frozenset[int]:
    """After how many batches of an epoch to evaluate: evenly spread, at ends of steps, last at the end.

    A step takes `group` batches, the last one of the epoch what is left.
    """
    steps = math.ceil(batches / group)
    ends = (math.ceil(steps * (i + 1) / evaluations) * group for i in range(evaluations))
    return frozenset(min(end, batches) for end in ends)
