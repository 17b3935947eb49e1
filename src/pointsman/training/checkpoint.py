"""Checkpoints: written aside, then renamed, so that the last one there is always whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointsman.errors import ConfigError, ReadOnlyError
from pointsman.training.plan import Plan

_PREFIX = "checkpoint-"
_FILE = "state.pt"


@dataclass
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    `batch` counts the batches of the epoch that are done with, over all processes. `generator`
    holds each process's generators [processes, bytes]. What a file does not know of, because it was
    written before there was such a field, has the default.
    """

    plan: dict[str, Any]
    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    best: float = float("-inf")
    best_step: int = 0
    bad: int = 0
    stopped_early: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    best_parameters: dict[str, Tensor] = field(default_factory=dict)
    parameters: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    generator: Tensor = field(default_factory=torch.get_rng_state)
    processes: int = 1
    fingerprint: str = ""
    loss: float = 0.0

    @classmethod
    def fresh(cls, plan: Plan, fingerprint: str = "", processes: int = 1) -> Checkpoint:
        """The state before the first step."""
        return cls(asdict(plan), fingerprint=fingerprint, processes=processes)

    def check(self, plan: Plan, fingerprint: str, processes: int, folder: Path) -> None:
        """Raise ConfigError where going on from here would not be the same run."""
        changed = [
            known.name
            for known in fields(plan)
            if self.plan.get(known.name, known.default) != getattr(plan, known.name)
        ]
        if changed:
            raise ConfigError(
                f"{folder} holds a run with another {', '.join(changed)}; "
                "go on with the same plan, or start afresh in another directory"
            )
        if processes != self.processes:
            raise ConfigError(
                f"{folder} holds a run of {self.processes} process(es), not of {processes}; "
                f"go on with {self.processes}, or start afresh in another directory"
            )
        if self.fingerprint and fingerprint and fingerprint != self.fingerprint:
            raise ConfigError(
                f"{folder} holds a run on other data or with other settings of the task; "
                "go on with the same ones, or start afresh in another directory"
            )

    @property
    def evaluated_step(self) -> int:
        """The step of the last evaluation, 0 before the first."""
        return int(self.history[-1]["step"]) if self.history else 0

    def record(
        self,
        measures: Mapping[str, float],
        measure: str | None,
        patience: int,
        parameters: Mapping[str, nn.Parameter],
    ) -> None:
        """Take note of an evaluation; keep the weights if it is the best so far, or where nothing is measured."""
        if measure is not None and measure not in measures:
            raise ConfigError(
                f"no measure {measure!r} to stop on (there are: {', '.join(measures)})"
            )
        self.history.append({"step": float(self.step), **measures})
        value = float("-inf") if measure is None else measures[measure]
        if measure is None or value > self.best:
            self.best, self.best_step, self.bad = value, self.step, 0
            self.best_parameters = {k: v.detach().cpu().clone() for k, v in parameters.items()}
        else:
            self.bad += 1
            self.stopped_early = self.bad >= patience

    def capture(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        generator: Tensor,
    ) -> None:
        """Take the run's weights, optimiser and random generators into this checkpoint."""
        self.parameters = {k: v.detach().cpu() for k, v in parameters.items()}
        self.optimizer = optimizer.state_dict()
        self.generator = generator

    def restore(
        self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> None:
        """Put this checkpoint's weights and optimiser back. Raises ConfigError on a misfit."""
        ours = {name: parameter.shape for name, parameter in parameters.items()}
        if ours != {name: tensor.shape for name, tensor in self.parameters.items()}:
            raise ConfigError(
                "the checkpoint holds other weights than this task trains (another rank or base?); "
                "start afresh in another directory"
            )
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(self.parameters[name])
        optimizer.load_state_dict(self.optimizer)

    def generator_of(self, rank: int) -> Tensor:
        """The state of one process's generators, as `randomness.generator_state` gave it."""
        return self.generator.reshape(self.processes, -1)[rank]


def save_checkpoint(state: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint whole or not at all, then drop the older ones."""
    name = f"{_PREFIX}{state.step:08d}"
    aside, final = folder / f".{name}.aside", folder / name
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        with (aside / _FILE).open("wb") as file:
            torch.save({name: getattr(state, name) for name in state.__dataclass_fields__}, file)
            file.flush()
            os.fsync(file.fileno())
        if (final / _FILE).is_file():  # the same step again, now with its evaluation
            os.replace(aside / _FILE, final / _FILE)
            aside.rmdir()
        else:
            shutil.rmtree(final, ignore_errors=True)
            os.replace(aside, final)
    except OSError as error:
        raise ReadOnlyError(
            f"{folder}: a checkpoint cannot be written ({error.strerror})"
        ) from error
    for old in checkpoints(folder):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if (path / _FILE).is_file())


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The last whole checkpoint of a run, or None where there is none."""
    found = checkpoints(folder)
    if not found:
        return None
    try:
        fields = torch.load(found[-1] / _FILE, map_location="cpu", weights_only=True)
        return Checkpoint(**fields)
    except Exception as error:  # an unpickler fails in many ways, and at great length
        raise ConfigError(
            f"{found[-1]}: this checkpoint cannot be read ({type(error).__name__}); "
            "delete it to start afresh"
        ) from error
