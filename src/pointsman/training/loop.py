"""One training loop for every stage: seeded, resumable, early-stopped, with progress.

It asks a task for parameters, batches, a loss and a measure, and knows nothing else of it. Under
`torchrun --nproc-per-node N` the same call trains on N processes at once: each takes its share of
a step's batches, and their gradients are averaged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointsman.errors import ConfigError
from pointsman.training.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from pointsman.training.distributed import Processes, join
from pointsman.training.interrupt import Interrupt
from pointsman.training.log import Entry, RunLog
from pointsman.training.plan import Plan, evaluation_points, learning_rate_factor
from pointsman.training.randomness import generator_state, restore_generators, seed_everything
from pointsman.training.task import Task, fingerprint

__all__ = ["Outcome", "Plan", "Progress", "Task", "learning_rate_factor", "train"]


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
    """What came of it: the best weights by the plan's measure, and the history of evaluations.

    Of a plan that measures nothing the last weights, and minus infinity.
    """

    parameters: Mapping[str, Tensor]
    best: float
    best_step: int
    steps: int
    seconds: float
    stopped_early: bool
    history: tuple[Mapping[str, float], ...]


Show = Callable[[Progress], None]


def train(task: Task, plan: Plan, folder: Path, show: Show | None = None) -> Outcome:
    """Train to the end of the plan, to early stopping, or to Ctrl-C, which leaves a checkpoint.

    `folder` holds the checkpoints, `log.jsonl`, and TensorBoard's files where that is installed; a
    run that finds a checkpoint there goes on from it. Raises ConfigError when that checkpoint was
    made with another plan, number of processes or fingerprint of the task.

    A step takes `accumulation` batches of each process, the last one of an epoch what is left, so
    that none is dropped or seen twice; its loss is the mean over those batches, whichever process
    computed them. All processes return the same outcome; only the main one evaluates, writes and
    calls `show`. After Ctrl-C all raise KeyboardInterrupt.
    """
    processes = join(task.device)
    seed_everything(plan.seed, processes.rank)
    run = _Run(task, plan, folder, show, processes)
    # Among several processes Ctrl-C waits until all can stop at the same step.
    with run.interrupt, run.interrupt.held(processes.count > 1):
        try:
            while not run.finished():
                run.epoch()
        except KeyboardInterrupt:
            run.save()
            raise
        finally:
            run.log.close()
    return run.outcome()


class _Run:
    """A run under way: the state that a checkpoint holds, and what a step does to it."""

    def __init__(
        self, task: Task, plan: Plan, folder: Path, show: Show | None, processes: Processes
    ) -> None:
        self.interrupt = Interrupt()
        self._task, self._plan, self._folder, self._show = task, plan, folder, show
        self._processes = processes
        self._parameters = dict(task.parameters())
        self._optimizer = torch.optim.AdamW(
            list(self._parameters.values()), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self._optimizer.zero_grad(set_to_none=True)
        batches, identity = len(task.batches(0)), fingerprint(task)
        if batches == 0:
            raise ConfigError("there is nothing to train on: the task has no batches")
        self._group = plan.accumulation * processes.count
        self._steps = math.ceil(batches / self._group) * plan.epochs
        self._state = self._begin_or_resume(identity)
        processes.start_alike(self._parameters, (batches, identity))
        self.log = RunLog(folder, self._state.step)
        self._generator = generator_state(task.device)
        self._started = self._saved = time.monotonic()
        self._steps_before, self._seconds_before = self._state.step, self._state.seconds
        self._smoothed = 0.0

    def finished(self) -> bool:
        return self._state.stopped_early or self._state.epoch >= self._plan.epochs

    def outcome(self) -> Outcome:
        state = self._state
        return Outcome(
            parameters=state.best_parameters,
            best=state.best,
            best_step=state.best_step,
            steps=state.step,
            seconds=self._seconds(),
            stopped_early=state.stopped_early,
            history=tuple(state.history),
        )

    def epoch(self) -> None:
        """Train to the end of the epoch that the state stands in, or to early stopping."""
        state = self._state
        batches = self._task.batches(state.epoch)
        points = evaluation_points(len(batches), self._group, self._plan.evaluations)
        # Ctrl-C during an evaluation leaves a checkpoint that still owes it.
        if state.batch in points and state.evaluated_step != state.step:
            self._evaluate(None)
            self.save()
        while state.batch < len(batches) and not self.finished():
            self._step(batches[state.batch : state.batch + self._group], points)
        if not self.finished():
            with self.interrupt.held():
                state.epoch, state.batch = state.epoch + 1, 0

    def save(self) -> None:
        """Write a checkpoint of the last whole step."""
        state = self._state
        state.seconds = self._seconds()
        generators = torch.stack(self._processes.gather(self._generator))
        state.capture(self._parameters, self._optimizer, generators)
        self._processes.from_main(lambda: save_checkpoint(state, self._folder))
        self._saved = time.monotonic()

    def _step(self, group: Sequence[Any], points: frozenset[int]) -> None:
        state = self._state
        began = time.monotonic()
        for settings in self._optimizer.param_groups:
            settings["lr"] = self._learning_rate(state.step)
        loss = self._backward(self._processes.share(group), len(group))
        overdue = time.monotonic() - self._saved > self._plan.checkpoint_seconds
        # What all have to do together is decided in the same exchange as the gradients'.
        loss, interrupted, save_due = self._processes.sum_gradients(
            self._parameters, (loss, self.interrupt.pending, overdue)
        )
        if interrupted:
            raise KeyboardInterrupt
        evaluating = state.batch + len(group) in points
        with self.interrupt.held():
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._plan.max_grad_norm)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.batch += len(group)
            state.loss = loss
            self._generator = generator_state(self._task.device)
            speed = len(group) / max(time.monotonic() - began, 1e-9)
            if not evaluating:
                self._write(speed, {})
        measures = self._evaluate(speed) if evaluating else {}
        self._smoothed += (0.05 if self._smoothed else 1.0) * (loss - self._smoothed)
        if self._show is not None and self._processes.main:
            self._show(self._progress(measures))
        if evaluating or save_due:
            self.save()

    def _backward(self, batches: Sequence[Any], group: int) -> float:
        """Add up the gradients of these batches' part of the mean over the step's `group` batches."""
        device = self._task.device
        total = torch.zeros((), device=device)
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=self._plan.bf16):
                loss = self._task.loss(batch) / group
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return float(total)

    def _evaluate(self, speed: float | None) -> Mapping[str, float]:
        def measure() -> Mapping[str, float]:
            with self.interrupt.held(False):
                return {} if self._plan.measure is None else dict(self._task.evaluate())

        measures = self._processes.from_main(measure)
        with self.interrupt.held():
            self._state.record(measures, self._plan.measure, self._plan.patience, self._parameters)
            self._generator = generator_state(self._task.device)
            self._write(speed, measures)
        return measures

    def _write(self, speed: float | None, measures: Mapping[str, float]) -> None:
        if self._processes.main:
            state = self._state
            rate = self._learning_rate(state.step - 1)
            self.log.write(Entry(state.step, self._seconds(), state.loss, rate, speed, measures))

    def _begin_or_resume(self, identity: str) -> Checkpoint:
        processes, plan = self._processes, self._plan
        fresh = Checkpoint.fresh(plan, identity, processes.count)
        state = processes.from_main(lambda: latest_checkpoint(self._folder))
        if state is None:
            return fresh
        state.check(plan, identity, processes.count, self._folder)
        state.restore(self._parameters, self._optimizer)
        restore_generators(state.generator_of(processes.rank), self._task.device)
        state.plan, state.fingerprint = fresh.plan, identity or state.fingerprint
        return state

    def _learning_rate(self, step: int) -> float:
        factor = learning_rate_factor(step, self._steps, self._plan.warmup)
        return self._plan.learning_rate * factor

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _progress(self, measures: Mapping[str, float]) -> Progress:
        step = self._state.step
        each = (time.monotonic() - self._started) / max(1, step - self._steps_before)
        left = each * max(0, self._steps - step)
        return Progress(step, self._steps, self._smoothed, left, measures)
