"""What a stage hands to the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Task(Protocol):
    """What a stage hands to the loop. A task may also be `Fingerprinted`."""

    @property
    def device(self) -> torch.device:
        """Where the loss is computed."""
        ...

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The weights that are trained, by name: all that a checkpoint has to hold."""
        ...

    def batches(self, epoch: int) -> Sequence[Any]:
        """An epoch's batches; the same epoch must give the same ones, or resuming would repeat data.

        Every process of a run is given the same ones as well, and computes its share of them.
        """
        ...

    def loss(self, batch: Any) -> Tensor:
        """The mean loss over a batch, a scalar."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Measures on dev data, higher is better; the plan names the one that decides.

        Asked of the main process only.
        """
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A task that can say what else than the plan makes two runs the same."""

    def fingerprint(self) -> str:
        """A hash of the data and settings; a checkpoint of another one is not gone on from."""
        ...


def fingerprint(task: Task) -> str:
    """The task's fingerprint, empty where it offers none."""
    return task.fingerprint() if isinstance(task, Fingerprinted) else ""
