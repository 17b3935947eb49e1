"""One training loop for every stage: seeded, resumable, early-stopped, with progress.

It asks a task for parameters, batches, a loss and a measure, and knows nothing else of it.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pointsman.errors import ConfigError
from pointsman.training.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint


class Task(Protocol):
    """What a stage hands to the loop."""

    @property
    def device(self) -> torch.device:
        """Where the loss is computed."""
        ...

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The weights that are trained, by name: all that a checkpoint has to hold."""
        ...

    def batches(self, epoch: int) -> Sequence[Any]:
        """An epoch's batches; the same epoch must give the same ones, or resuming would repeat data."""
        ...

    def loss(self, batch: Any) -> Tensor:
        """The mean loss over a batch, a scalar."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Measures on dev data, higher is better; the plan names the one that decides."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. `measure` is the key of `Task.evaluate` that early stopping watches.

    `warmup` is the share of all steps in which the learning rate rises linearly; then it falls
    linearly to 0. `evaluations` is the number a epoch; training stops after `patience` of them
    without a new best. `bf16` runs the forward pass in mixed precision.
    """

    measure: str
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

    def __post_init__(self) -> None:
        positive = ("epochs", "learning_rate", "max_grad_norm", "evaluations", "patience")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is a share of all steps, 0 to below 1, not {self.warmup}")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands, for whoever shows it. `remaining` is in seconds."""

    step: int
    steps: int
    loss: float
    remaining: float
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of it: the best weights by the plan's measure, and the history of evaluations."""

    parameters: Mapping[str, Tensor]
    best: float
    best_step: int
    steps: int
    seconds: float
    stopped_early: bool
    history: tuple[Mapping[str, float], ...]


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear rise over the first `warmup` share of steps, linear fall to 0 at the last."""
    rise = max(1, math.ceil(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))


def seed_everything(seed: int) -> None:
    """Seed every generator that a training run could draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train(
    task: Task,
    plan: Plan,
    folder: Path,
    show: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train to the end of the plan, to early stopping, or to Ctrl-C, which leaves a checkpoint.

    `folder` holds the checkpoints; a run that finds one there goes on from it. Raises ConfigError
    when that checkpoint was made with another plan.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # Accelerate keeps one state a process: a second run would be held to the first one's device
    # and precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    seed_everything(plan.seed)
    accelerator = Accelerator(
        cpu=task.device.type == "cpu", mixed_precision="bf16" if plan.bf16 else "no"
    )
    parameters = dict(task.parameters())
    optimizer = torch.optim.AdamW(
        list(parameters.values()), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    per_epoch = len(task.batches(0))
    if per_epoch == 0:
        raise ConfigError("there is nothing to train on: the task has no batches")
    steps = per_epoch * plan.epochs
    state = _resume(folder, plan, parameters, optimizer) or Checkpoint.fresh(asdict(plan))
    evaluate_at = {
        math.ceil(per_epoch * (i + 1) / plan.evaluations) for i in range(plan.evaluations)
    }
    started = saved = time.monotonic()
    done_before, seconds_before = state.step, state.seconds
    running = 0.0

    def finished() -> bool:
        return state.stopped_early or state.epoch >= plan.epochs

    def evaluate() -> Mapping[str, float]:
        measures = task.evaluate()
        state.record(measures, plan.measure, plan.patience, parameters)
        return measures

    def save() -> None:
        nonlocal saved
        state.seconds = seconds_before + time.monotonic() - started
        state.capture(parameters, optimizer)
        save_checkpoint(state, folder)
        saved = time.monotonic()

    try:
        # Ctrl-C during an evaluation leaves a checkpoint that still owes it.
        if state.batch in evaluate_at and state.evaluated_step != state.step:
            evaluate()
            save()
        while not finished():
            for batch in task.batches(state.epoch)[state.batch :]:
                factor = learning_rate_factor(state.step, steps, plan.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = plan.learning_rate * factor
                with accelerator.autocast():
                    loss = task.loss(batch)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(list(parameters.values()), plan.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                state.step += 1
                state.batch += 1
                running += (
                    0.05 * (float(loss.detach()) - running) if running else float(loss.detach())
                )
                measures: Mapping[str, float] = {}
                if state.batch in evaluate_at:
                    measures = evaluate()
                if show is not None:
                    spent = time.monotonic() - started
                    left = spent / max(1, state.step - done_before) * (steps - state.step)
                    show(Progress(state.step, steps, running, left, measures))
                if measures or time.monotonic() - saved > plan.checkpoint_seconds:
                    save()
                if finished():
                    break
            else:
                state.epoch, state.batch = state.epoch + 1, 0
    except KeyboardInterrupt:
        save()
        raise
    return Outcome(
        parameters=state.best_parameters,
        best=state.best,
        best_step=state.best_step,
        steps=state.step,
        seconds=seconds_before + time.monotonic() - started,
        stopped_early=state.stopped_early,
        history=tuple(state.history),
    )


def _resume(
    folder: Path,
    plan: Plan,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Checkpoint | None:
    state = latest_checkpoint(folder)
    if state is None:
        return None
    changed = [key for key, value in asdict(plan).items() if state.plan.get(key) != value]
    if changed:
        raise ConfigError(
            f"{folder} holds a run with another {', '.join(changed)}; "
            "go on with the same plan, or start afresh in another directory"
        )
    state.restore(parameters, optimizer)
    return state
