"""Training a grader's adapter and head: what the training loop asks of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.pair_features import pair_features
from pointsman.backbone.pair_reading import first_windows
from pointsman.backbone.pairs import passage_mask
from pointsman.grade.grader import GraderSettings, PairGrader
from pointsman.grade.head import GradeHead
from pointsman.grade.objective import Objective
from pointsman.grade.pairwise import PairTexts
from pointsman.training.adapter_task import AdapterTask
from pointsman.training.batches import similar_batches
from pointsman.wording import wording

_ADAPTER = "grader:training"

Evaluate = Callable[[PairGrader], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Part:
    """What of a grader is trained: its adapter and its head."""

    adapter: LoraAdapter
    head: GradeHead


class GraderTask(AdapterTask):
    """Trains an adapter and a grade head on a backbone (training protocol `Task`).

    `targets` [n, G] are the pairs' distributions over grades. Of a passage of several windows the
    first one is learned from. Of the adapter what lies below `from_layer` stays as it is. Batches are
    lists of places in `pairs`.
    """

    def __init__(
        self,
        backbone: Backbone,
        start: Part,
        pairs: Sequence[PairTexts],
        targets: Tensor,
        objective: Objective,
        evaluate: Evaluate,
        settings: GraderSettings,
        *,
        batch_size: int = 32,
        dropout: float = 0.0,
        from_layer: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, start.adapter, start.head.tensors, from_layer=from_layer)
        self._kind = start.head.kind
        self._targets = targets
        self._objective = objective
        self._evaluate = evaluate
        self._settings = settings
        self._batch_size = batch_size
        self._dropout = dropout
        self._seed = seed
        self._windows = first_windows(backbone, pairs, settings.max_length, settings.overlap)
        self._lengths = [len(window) for window in self._windows]
        self._wording = torch.from_numpy(wording(pairs)) if settings.wording else None

    def fingerprint(self) -> str:
        """Changes with the data and the settings: a run is not continued on others."""
        settings = (
            self._batch_size,
            self._seed,
            self._dropout,
            self._objective,
            self._settings,
        )
        return self.digest(settings, self._windows, self._targets.numpy().tobytes())

    def batches(self, epoch: int) -> list[list[int]]:
        """An epoch's batches of pairs of similar length, a function of seed and epoch alone."""
        return similar_batches(self._lengths, self._batch_size, self._seed, epoch)

    def loss(self, batch: Sequence[int]) -> Tensor:
        """The objective of a batch."""
        windows = [self._windows[pair] for pair in batch]
        with self.backbone.using(self.adapter_in_training(), self._dropout):
            states, mask = self.backbone.pair_states(windows)
        passage = passage_mask(windows, mask.shape[1]).to(self.device)
        head = GradeHead(self._kind, self._head_parameters)
        with torch.autocast(self.device.type, enabled=False):
            features = pair_features(states, mask, passage)
            if self._wording is not None:
                repeated = self._wording[list(batch)].to(self.device)
                features = torch.cat([features, repeated], dim=1)
            log_p = head.log_probabilities(features)
            return self._objective(log_p, self._targets[list(batch)].to(self.device))

    def evaluate(self) -> Mapping[str, float]:
        """Whatever the given measure says of the grader as it stands."""
        return self._evaluate(grader_of(self.backbone, self.part(), self._settings))

    def part(self, parameters: Mapping[str, Tensor] | None = None) -> Part:
        """The adapter and head with these weights, or with those of this moment."""
        adapter, head = self.weights(parameters)
        return Part(adapter, GradeHead(self._kind, head))


def grader_of(backbone: Backbone, part: Part, settings: GraderSettings) -> PairGrader:
    """A grader of these weights; it is in the backbone until the next one takes its place."""
    backbone.add_adapter(_ADAPTER, part.adapter)
    return PairGrader(backbone, part.head, _ADAPTER, settings)
