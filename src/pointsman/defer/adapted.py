"""A rejector that reads question and passage together, through an adapter on the backbone's first layers.

As in arXiv 2410.15761 it is trained end to end; a few layers suffice, for what they take is a part of
the bill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pointsman.backbone.device import trains_in_bf16
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter
from pointsman.backbone.pair_features import feature_width, pair_features
from pointsman.backbone.pair_reading import first_windows
from pointsman.backbone.pairs import passage_mask
from pointsman.deadline import Deadline
from pointsman.defer.network import Floats
from pointsman.training.adapter_task import AdapterTask
from pointsman.training.batches import similar_batches
from pointsman.training.loop import Plan, Progress, train

Pair = tuple[str, str]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs [b, k] and the batch's rows [b] to a mean loss."""

_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Reads:
    """How it reads and is trained: the first `layers` of the encoder, None for all, and the first
    `max_length` tokens of a pair, through an adapter of this rank.
    """

    layers: int | None = 3
    max_length: int = 256
    rank: int = 16
    batch_size: int = 32
    plan: Plan = field(
        default_factory=lambda: Plan(measure=None, epochs=2, learning_rate=1e-3, evaluations=1)
    )


@dataclass(frozen=True, slots=True)
class Part:
    """The adapter, and the `weight` [k, 4d] and `bias` [k] of what is said of a pair."""

    adapter: LoraAdapter
    weight: Tensor
    bias: Tensor

    @classmethod
    def fresh(cls, backbone: Backbone, count: int, reads: Reads) -> Part:
        """One that says nothing yet."""
        generator = torch.Generator().manual_seed(reads.plan.seed)
        adapter = new_adapter(backbone.model, reads.rank, 2.0 * reads.rank, generator)
        weight = torch.zeros(count, feature_width(backbone.shape.width))
        return cls(adapter.first_layers(reads.layers), weight, torch.zeros(count))


class PairTask(AdapterTask):
    """Trains an adapter and a linear head on pairs (training protocol `Task`).

    `data` names what the loss knows of them, for the fingerprint. Batches are lists of places in `pairs`.
    """

    def __init__(
        self,
        backbone: Backbone,
        start: Part,
        pairs: Sequence[Pair],
        loss: Loss,
        reads: Reads,
        data: bytes,
    ) -> None:
        head = {"weight": start.weight, "bias": start.bias}
        super().__init__(backbone, start.adapter, head)
        self._loss = loss
        self._reads = reads
        self._data = data
        self._windows = first_windows(backbone, pairs, reads.max_length, 0)
        self._lengths = [len(window) for window in self._windows]

    def fingerprint(self) -> str:
        """Changes with the data and the settings: a run is not continued on others."""
        return self.digest((self._reads,), self._windows, self._data)

    def batches(self, epoch: int) -> list[list[int]]:
        """An epoch's batches of pairs of similar length."""
        reads = self._reads
        return similar_batches(self._lengths, reads.batch_size, reads.plan.seed, epoch)

    def loss(self, batch: Sequence[int]) -> Tensor:
        """The loss of a batch."""
        windows = [self._windows[pair] for pair in batch]
        with self.backbone.using(self.adapter_in_training()):
            states, mask = self.backbone.pair_states(windows, self._reads.layers)
        passage = passage_mask(windows, mask.shape[1]).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            features = pair_features(states, mask, passage)
            head = self._head_parameters
            return self._loss(features @ head["weight"].T + head["bias"], torch.tensor(batch))

    def evaluate(self) -> Mapping[str, float]:
        """It goes to its end."""
        return {}

    def part(self, parameters: Mapping[str, Tensor]) -> Part:
        """With these weights."""
        adapter, head = self.weights(parameters)
        return Part(adapter, head["weight"], head["bias"])


def learn(
    backbone: Backbone,
    pairs: Sequence[Pair],
    truth: npt.NDArray[np.float32],
    loss: Callable[[Tensor, Tensor], Tensor],
    what: str,
    reads: Reads,
    runs: Path,
    show: Callable[[Progress], None] | None = None,
) -> Part:
    """Train on questions and passages, of which `truth` [n, k] is known; `loss` is called with outputs [b, k]
    and their truth [b, k], and `what` names it.

    `runs` keeps checkpoints, and the same call goes on from there.
    """
    plan = replace(reads.plan, bf16=trains_in_bf16(backbone.device))
    reads = replace(reads, plan=plan)
    told, data = torch.from_numpy(truth), what.encode() + truth.tobytes()
    task = PairTask(
        backbone,
        Part.fresh(backbone, truth.shape[1], reads),
        pairs,
        lambda scores, rows: loss(scores, told[rows].to(scores.device)),
        reads,
        data,
    )
    key = hashlib.sha256(repr((backbone.identity.sha256, pairs, data, reads)).encode()).hexdigest()
    run = runs / f"rejector-{key[:12]}"
    return task.part(train(task, plan, run, show).parameters)


def outputs(
    backbone: Backbone,
    part: Part,
    pairs: Sequence[Pair],
    reads: Reads,
    deadline: Deadline | None = None,
) -> Floats:
    """What is said of each pair [n, k]; of a passage that is too long the beginning is read.

    Raises DeadlineError.
    """
    windows = first_windows(backbone, pairs, reads.max_length, 0)
    found = np.zeros((len(pairs), len(part.bias)), dtype=np.float32)
    adapter = part.adapter.to(backbone.device, backbone.dtype)
    order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
    for start in range(0, len(order), _TOGETHER):
        if deadline is not None:
            deadline.check("reading who should answer")
        batch = order[start : start + _TOGETHER]
        some = [windows[i] for i in batch]
        with torch.inference_mode(), backbone.using(adapter):
            states, mask = backbone.pair_states(some, reads.layers)
            passage = passage_mask(some, mask.shape[1]).to(backbone.device)
            features = pair_features(states, mask, passage).cpu()
        found[batch] = (features @ part.weight.cpu().T + part.bias.cpu()).numpy()
    return found


def reading_gflops(backbone: Backbone, pairs: Sequence[Pair], reads: Reads) -> list[float]:
    """What it takes to read each pair, in GFLOPs."""
    shape = backbone.shape.first(reads.layers)
    windows = first_windows(backbone, pairs, reads.max_length, 0)
    return [shape.forward_gflops(1, len(each)) for each in windows]
