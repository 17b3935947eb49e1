"""Training a span reader: what the training loop asks of a task."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, own_parameters
from pointsman.backbone.pairs import Window, collate, passage_mask
from pointsman.evaluate.reading import ReadingScores, score_reading
from pointsman.read.examples import epoch_examples, examples_digest
from pointsman.read.head import SpanHead, choosable
from pointsman.read.loss import span_loss
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.targets import window_targets
from pointsman.types import Passage, Reading, ReadingExample

# Windows sorted together before they are cut into batches: enough to leave little padding, few
# enough that a batch is still a random draw.
_SORTED_TOGETHER = 50
# A long document is mostly windows without the answer; so many of them are kept an epoch.
_SILENT_WINDOWS = 1
# Examples that are cut into windows together.
_CUT_TOGETHER = 256

_ADAPTER = "reader:training"

Evaluate = Callable[[SpanReader], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Target:
    """A window and the distributions over its tokens that the head should give."""

    window: Window
    start: Mapping[int, float]
    end: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class ReaderData:
    """Training examples, the contexts that make them unanswerable, and the share of those."""

    examples: Sequence[ReadingExample]
    contexts: Sequence[str]
    confusable: Sequence[Sequence[int]]
    unanswerable_share: float


@dataclass(frozen=True, slots=True)
class Part:
    """What of a reader is trained: its adapter and its span head."""

    adapter: LoraAdapter
    head: SpanHead


class ReaderTask:
    """Trains an adapter and a span head on a backbone (training protocol `Task`)."""

    def __init__(
        self,
        backbone: Backbone,
        adapter: LoraAdapter,
        head: SpanHead,
        data: ReaderData,
        evaluate: Evaluate,
        *,
        batch_size: int = 32,
        settings: ReaderSettings | None = None,
        dropout: float = 0.0,
        teachers: Sequence[Part] = (),
        seed: int = 0,
    ) -> None:
        self.backbone = backbone
        self._settings = settings or ReaderSettings()
        self._data = data
        self._evaluate = evaluate
        self._batch_size = batch_size
        self._dropout = dropout
        # As they were given: in the backbone's format they could look alike.
        self._teachers_digest = _parts_digest(teachers)
        self._teachers = [
            Part(each.adapter.to(backbone.device, backbone.dtype), each.head) for each in teachers
        ]
        self._seed = seed
        self._template = adapter.first_layers(self._settings.layers)
        self._adapter_parameters = self._template.trainable(backbone.device)
        self._head_parameters = own_parameters(head.tensors, backbone.device)
        self._epoch: tuple[int, list[list[Target]]] | None = None

    @property
    def device(self) -> torch.device:
        """The backbone's device."""
        return self.backbone.device

    def parameters(self) -> dict[str, nn.Parameter]:
        """The adapter's matrices and the head's, by name."""
        head = {f"head.{name}": value for name, value in self._head_parameters.items()}
        return {**self._adapter_parameters, **head}

    def fingerprint(self) -> str:
        """Changes with the data, the settings and the teachers: a run is not continued on others."""
        # Which contexts are confusable follows from these, up to the rounding of another machine.
        identity = (
            self.backbone.identity.sha256,
            self._batch_size,
            self._seed,
            self._dropout,
            self._settings,
            examples_digest(self._data.examples),
            tuple(self._data.contexts),
            self._data.unanswerable_share,
            self._teachers_digest,
        )
        return hashlib.sha256(repr(identity).encode()).hexdigest()

    def batches(self, epoch: int) -> list[list[Target]]:
        """An epoch's batches of windows of similar length, a function of seed and epoch alone."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._make_batches(epoch))
        return self._epoch[1]

    def loss(self, batch: Sequence[Target]) -> Tensor:
        """The span loss of a batch; teachers' distributions are half of the target where there are any.

        Distillation is arXiv 1503.02531; the teachers' mean is taken, at temperature 1.
        """
        windows = [target.window for target in batch]
        inputs = collate(windows, int(self.backbone.tokenizer.pad_token_id or 0))
        length = inputs["input_ids"].shape[1]
        allowed = choosable(passage_mask(windows, length)).to(self.device)
        start_target = _dense([target.start for target in batch], length).to(self.device)
        end_target = _dense([target.end for target in batch], length).to(self.device)
        if self._teachers:
            taught = [self._taught(teacher, inputs, allowed) for teacher in self._teachers]
            start_target = (start_target + torch.stack([s for s, _ in taught]).mean(0)) / 2
            end_target = (end_target + torch.stack([e for _, e in taught]).mean(0)) / 2
        adapter = self._template.with_tensors(self._adapter_parameters)
        with self.backbone.using(adapter, self._dropout):
            states = self.backbone.forward(inputs, self._settings.layers)
        start, end = SpanHead(self._head_parameters).logits(states, allowed)
        return span_loss(start, end, start_target, end_target)

    def _taught(
        self, teacher: Part, inputs: dict[str, Tensor], allowed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A teacher's start and end distributions [rows, length]."""
        with torch.no_grad(), self.backbone.using(teacher.adapter):
            start, end = teacher.head.logits(self.backbone.forward(inputs), allowed)
        return start.softmax(-1), end.softmax(-1)

    def evaluate(self) -> Mapping[str, float]:
        """Whatever the given measure says of the reader as it stands."""
        return self._evaluate(self.reader())

    def reader(self, parameters: Mapping[str, Tensor] | None = None) -> SpanReader:
        """A reader with these weights, or with those of this moment."""
        part = self.parts(parameters)
        self.backbone.add_adapter(_ADAPTER, part.adapter)
        return SpanReader(self.backbone, part.head, _ADAPTER, self._settings)

    def parts(self, parameters: Mapping[str, Tensor] | None = None) -> Part:
        """The adapter and head with these weights, or with those of this moment."""
        given = {k: v.detach() for k, v in (parameters or self.parameters()).items()}
        head = {k.removeprefix("head."): v for k, v in given.items() if k.startswith("head.")}
        return Part(self._template.with_tensors(given), SpanHead(head))

    def _make_batches(self, epoch: int) -> list[list[Target]]:
        seed = self._seed * 1_000_003 + epoch
        data = self._data
        examples = epoch_examples(
            data.examples, data.contexts, data.confusable, data.unanswerable_share, seed
        )
        targets = self._targets(examples, random.Random(seed))
        block = self._batch_size * _SORTED_TOGETHER
        batches = []
        for i in range(0, len(targets), block):
            ordered = sorted(targets[i : i + block], key=lambda target: len(target.window))
            size = self._batch_size
            batches += [ordered[j : j + size] for j in range(0, len(ordered), size)]
        random.Random(seed + 1).shuffle(batches)
        return batches

    def _targets(self, examples: Sequence[ReadingExample], rng: random.Random) -> list[Target]:
        kept = []
        # Long documents are mostly windows that are not kept: no more of them at once than need be.
        for begin in range(0, len(examples), _CUT_TOGETHER):
            some = examples[begin : begin + _CUT_TOGETHER]
            windows = self.backbone.windows(
                [(example.question, example.context) for example in some],
                self._settings.max_length,
                self._settings.overlap,
            )
            by_example: dict[int, list[Target]] = {}
            for window in windows:
                example = some[window.pair]
                spans = [
                    (start, start + len(answer))
                    for start, answer in zip(example.starts, example.answers, strict=True)
                ]
                start, end = window_targets(window.offsets, spans)
                by_example.setdefault(window.pair, []).append(Target(window, start, end))
            for i in range(len(some)):
                silent = [target for target in by_example[i] if 0 in target.start]
                kept += [target for target in by_example[i] if 0 not in target.start]
                kept += rng.sample(silent, min(_SILENT_WINDOWS, len(silent)))
        rng.shuffle(kept)
        return kept


def _parts_digest(parts: Sequence[Part]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr([(n, pair.scale) for n, pair in part.adapter.layers.items()]).encode())
        for name, tensor in {**part.adapter.tensors(), **part.head.tensors}.items():
            digest.update(repr((name, tuple(tensor.shape))).encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _dense(rows: Sequence[Mapping[int, float]], length: int) -> Tensor:
    dense = torch.zeros(len(rows), length)
    for row, weights in enumerate(rows):
        for token, weight in weights.items():
            dense[row, token] = weight
    return dense


def read_own_context(
    reader: SpanReader, examples: Sequence[ReadingExample], n_best: int = 1
) -> list[Reading]:
    """Read every example's own context, as reading benchmarks do."""
    passages = [[Passage(id=example.id, text=example.context)] for example in examples]
    return reader.read([example.question for example in examples], passages, n_best=n_best)


def score_readings(
    examples: Sequence[ReadingExample], readings: Sequence[Reading]
) -> ReadingScores:
    """EM and F1 of the best spans; a reading without spans says that there is no answer."""
    best = {
        example.id: reading.spans[0].text if reading.spans else ""
        for example, reading in zip(examples, readings, strict=True)
    }
    return score_reading(best, examples)
