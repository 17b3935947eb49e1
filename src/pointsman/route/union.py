"""One adapter for several collections at once: the multi-task rival of many experts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pointsman.backbone.lora import LoraAdapter
from pointsman.errors import ConfigError
from pointsman.route.task import ExpertTask

Step = tuple[int, list[int]]
"""Which task, and which of its queries."""


class UnionTask:
    """Trains the first task's adapter on all tasks' queries in turn (protocol `Task`).

    An epoch takes `batches_each` batches of every task, however many queries it has: sampling is
    balanced over collections, and a batch's negatives come from one of them.
    """

    def __init__(self, tasks: Sequence[ExpertTask], batches_each: int) -> None:
        if not tasks or batches_each < 1:
            raise ConfigError("a union needs at least one task, and one batch of each")
        self._tasks = list(tasks)
        self._each = batches_each
        for task in self._tasks[1:]:
            task.share(self._tasks[0])

    @property
    def device(self) -> torch.device:
        """Where the loss is computed."""
        return self._tasks[0].device

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The one adapter's matrices by name."""
        return self._tasks[0].parameters()

    def fingerprint(self) -> str:
        """Changes with every task's data and settings."""
        parts = [str(self._each), *(task.fingerprint() for task in self._tasks)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def batches(self, epoch: int) -> list[Step]:
        """The tasks' next batches in turn; each goes through its own queries before it repeats."""
        steps: list[Step] = []
        for place in range(epoch * self._each, (epoch + 1) * self._each):
            for number, task in enumerate(self._tasks):
                own, within = divmod(place, len(task.batches(0)))
                steps.append((number, task.batches(own)[within]))
        return steps

    def loss(self, step: Step) -> Tensor:
        """The loss of one task's batch."""
        number, batch = step
        return self._tasks[number].loss(batch)

    def evaluate(self) -> Mapping[str, float]:
        """The mean of the tasks' measures."""
        found = [task.evaluate() for task in self._tasks]
        return {name: sum(each[name] for each in found) / len(found) for name in found[0]}

    def adapter(self, parameters: Mapping[str, Tensor] | None = None) -> LoraAdapter:
        """The adapter with these weights, or with those of this moment."""
        return self._tasks[0].adapter(parameters)
