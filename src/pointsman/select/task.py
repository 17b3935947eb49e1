"""Training a selector's adapter and head: what the training loop asks of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.pair_features import pair_features
from pointsman.backbone.pair_reading import first_windows, read_pairs
from pointsman.backbone.pairs import passage_mask
from pointsman.select.chooser import Chooser
from pointsman.select.pointer import Candidates, PointerHead
from pointsman.select.selector import ListSelector, SelectorSettings, extras, is_linked, padded
from pointsman.training.adapter_task import AdapterTask
from pointsman.training.batches import similar_batches
from pointsman.types import FloatArray

_ADAPTER = "selector:training"

Objective = Callable[[Chooser, Candidates, Sequence[int]], Tensor]
"""Chooser, a batch's candidates, the batch's places among the questions -> the loss."""
Evaluate = Callable[[ListSelector], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Part:
    """What of a selector is trained: its adapter and its head."""

    adapter: LoraAdapter
    head: PointerHead


@dataclass(frozen=True)
class Lists:
    """Questions and their candidates' `texts`, best first, with their `relevance` [n] each, and `titles`
    where candidates have some.
    """

    questions: Sequence[str]
    texts: Sequence[Sequence[str]]
    relevance: Sequence[FloatArray]
    titles: Sequence[Sequence[str]] | None = None

    def extras(self, linked: bool) -> Tensor:
        """What is known of the candidates beside their states; see `selector.extras`."""
        titles = self.titles or [[""] * len(given) for given in self.texts]
        found = extras(self.questions, self.texts, self.relevance, titles if linked else None)
        return torch.from_numpy(found)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Every question with each of its candidates, question after question."""
        return [
            (question, text)
            for question, given in zip(self.questions, self.texts, strict=True)
            for text in given
        ]

    @cached_property
    def counts(self) -> list[int]:
        """How many candidates each question has."""
        return [len(given) for given in self.texts]

    @cached_property
    def places(self) -> list[range]:
        """Where each question's candidates stand among `pairs`."""
        return [range(start, end) for start, end in pairwise(accumulate(self.counts, initial=0))]


class SelectorTask(AdapterTask):
    """Trains a pointer head, and an adapter on a backbone unless it is frozen (protocol `Task`).

    `objective` says how good selections are; `data` names what it knows of them beyond the lists, for
    the fingerprint. Of the adapter what lies below `from_layer` stays as it is; all of it does where
    `read` is given, what `read_lists` read through it once. Batches are lists of places of questions
    that have candidates.
    """

    def __init__(
        self,
        backbone: Backbone,
        start: Part,
        lists: Lists,
        objective: Objective,
        evaluate: Evaluate,
        settings: SelectorSettings,
        *,
        data: str,
        read: Tensor | None = None,
        batch_size: int = 8,
        dropout: float = 0.0,
        from_layer: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            backbone,
            start.adapter,
            start.head.tensors,
            from_layer=from_layer,
            frozen=read is not None,
        )
        self._lists = lists
        self._objective = objective
        self._evaluate = evaluate
        self._settings = settings
        self._data = data
        self._batch_size = batch_size
        self._dropout = dropout
        self._seed = seed
        self._extras = lists.extras(is_linked(start.head, backbone.shape.width))
        # A question without candidates has nothing to teach.
        self._asked = [i for i, count in enumerate(lists.counts) if count]
        self._windows = first_windows(backbone, lists.pairs, settings.max_length, settings.overlap)
        self._lengths = [
            sum(len(self._windows[place]) for place in lists.places[i]) for i in self._asked
        ]
        self._read = read

    def fingerprint(self) -> str:
        """Changes with the data and the settings: a run is not continued on others."""
        settings = (
            self._batch_size,
            self._seed,
            self._dropout,
            self._settings,
            self._data,
            self._lists.counts,
        )
        return self.digest(settings, self._windows, self._extras.numpy().tobytes())

    def batches(self, epoch: int) -> list[list[int]]:
        """An epoch's batches of questions whose candidates are of similar length in all."""
        found = similar_batches(self._lengths, self._batch_size, self._seed, epoch)
        return [[self._asked[i] for i in batch] for batch in found]

    def loss(self, batch: Sequence[int]) -> Tensor:
        """The objective of a batch."""
        places = [place for i in batch for place in self._lists.places[i]]
        if self._read is not None:
            features = self._read[places].to(self.device).float()
        else:
            windows = [self._windows[place] for place in places]
            with self.backbone.using(self.adapter_in_training(), self._dropout):
                states, mask = self.backbone.pair_states(windows)
            passage = passage_mask(windows, mask.shape[1]).to(self.device)
            with torch.autocast(self.device.type, enabled=False):
                features = pair_features(states, mask, passage)
        with torch.autocast(self.device.type, enabled=False):
            beside = self._extras[places].to(self.device)
            counts = [self._lists.counts[i] for i in batch]
            chooser = self._chooser(self._head_parameters)
            seen = chooser.head.candidates(*padded(torch.cat([features, beside], dim=1), counts))
            return self._objective(chooser, seen, batch)

    def evaluate(self) -> Mapping[str, float]:
        """Whatever the given measure says of the selector as it stands."""
        return self._evaluate(selector_of(self.backbone, self.part(), self._settings))

    def part(self, parameters: Mapping[str, Tensor] | None = None) -> Part:
        """The adapter and head with these weights, or with those of this moment."""
        adapter, head = self.weights(parameters)
        return Part(adapter, PointerHead(head))

    def _chooser(self, head: Mapping[str, Tensor]) -> Chooser:
        return Chooser(PointerHead(head), self._settings.policy, self._settings.passages)


def read_lists(
    backbone: Backbone, adapter: LoraAdapter, lists: Lists, settings: SelectorSettings
) -> Tensor:
    """The states' features of all pairs [pairs, 4d] through an adapter that stays as it is.

    In half precision: what matters of a feature is its first digits, and there are many.
    """
    backbone.add_adapter(_ADAPTER, adapter)
    read = read_pairs(backbone, lists.pairs, _ADAPTER, settings.max_length, settings.overlap)
    return torch.from_numpy(read.of_first_windows().astype(np.float16))


def selector_of(backbone: Backbone, part: Part, settings: SelectorSettings) -> ListSelector:
    """A selector of these weights; it is in the backbone until the next one takes its place."""
    backbone.add_adapter(_ADAPTER, part.adapter)
    return ListSelector(backbone, part.head, _ADAPTER, settings)
