"""Training a reader on passages that someone else selected, where nobody has marked the answer.

Whatever reads like an answer in any of the passages counts: the loss is -log p(y | x, d_z), the reader's
probability of all those spans together among all spans of the passages, and of none. It is what DRO's
M-step asks of a reader (arXiv 2505.03075), each selection with its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.pairs import Window, passage_mask
from pointsman.read.head import SpanHead, choosable
from pointsman.read.likelihood import Find, mentions
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.spans import span_log_odds
from pointsman.read.targets import token_span
from pointsman.read.task import Part
from pointsman.training.adapter_task import AdapterTask
from pointsman.training.batches import similar_batches

_ADAPTER = "reader:selected"

Evaluate = Callable[[SpanReader], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A question with its answers and `texts`, and which of them the reader sees: `selections` are
    tuples of places in `texts`, each of a weight. A text that several selections share is read once.
    """

    question: str
    texts: tuple[str, ...]
    answers: tuple[str, ...]
    selections: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]

    @classmethod
    def all_of(cls, question: str, texts: Sequence[str], answers: Sequence[str]) -> Shown:
        """All texts at once."""
        return cls(question, tuple(texts), tuple(answers), (tuple(range(len(texts))),), (1.0,))

    def holding(self, marked: Sequence[bool]) -> Shown:
        """Only selections that weigh something and hold a marked text; texts that none sees are blank."""
        kept = [
            (chosen, weight)
            for chosen, weight in zip(self.selections, self.weights, strict=True)
            if weight > 0 and any(marked[i] for i in chosen)
        ]
        seen = {i for chosen, _ in kept for i in chosen}
        return replace(
            self,
            texts=tuple(text if i in seen else "" for i, text in enumerate(self.texts)),
            selections=tuple(chosen for chosen, _ in kept),
            weights=tuple(weight for _, weight in kept),
        )


class MarginalTask(AdapterTask):
    """Trains an adapter and a span head on selections (training protocol `Task`).

    A selection without an answer in it, or of weight 0, teaches nothing and is left out; `left_out`
    counts the questions of which no selection remains. Of the adapter what lies below `from_layer`
    stays as it is. `find` says what of a text is an answer. Batches are lists of places among the other
    questions.
    """

    def __init__(
        self,
        backbone: Backbone,
        start: Part,
        shown: Sequence[Shown],
        evaluate: Evaluate,
        *,
        settings: ReaderSettings | None = None,
        find: Find | None = None,
        batch_size: int = 8,
        dropout: float = 0.0,
        from_layer: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, start.adapter, start.head.tensors, from_layer=from_layer)
        self._evaluate = evaluate
        self._settings = settings or ReaderSettings()
        self._batch_size = batch_size
        self._dropout = dropout
        self._seed = seed
        find = find or mentions
        marked = [[find(text, each.answers) for text in each.texts] for each in shown]
        holding = [
            each.holding([bool(m) for m in mine]) for each, mine in zip(shown, marked, strict=True)
        ]
        kept = [i for i, each in enumerate(holding) if each.selections]
        self.left_out = len(shown) - len(kept)
        self._shown = [holding[i] for i in kept]
        self._windows = _windows(backbone, self._shown, self._settings)
        width = self._settings.answer_width
        self._spans = [
            [_spans(window, marked[i][place], width) for place, window in mine]
            for i, mine in zip(kept, self._windows, strict=True)
        ]
        self._lengths = [sum(len(window) for _, window in mine) for mine in self._windows]

    def fingerprint(self) -> str:
        """Changes with the data and the settings: a run is not continued on others."""
        settings = (self._batch_size, self._seed, self._dropout, self._settings)
        windows = [window for mine in self._windows for _, window in mine]
        return self.digest(settings, windows, repr(self._shown).encode())

    def batches(self, epoch: int) -> list[list[int]]:
        """An epoch's batches of selections of similar length."""
        return similar_batches(self._lengths, self._batch_size, self._seed, epoch)

    def loss(self, batch: Sequence[int]) -> Tensor:
        """-Σ w log p(y | x, d_z) / Σ w over a batch."""
        answer, every = self._log_sums(
            [window for i in batch for _, window in self._windows[i]],
            [spans for i in batch for spans in self._spans[i]],
        )
        losses, row = [], 0
        for i in batch:
            mine, each = self._windows[i], self._shown[i]
            for chosen, weight in zip(each.selections, each.weights, strict=True):
                there = [r for r, (place, _) in enumerate(mine) if place in chosen]
                right = [answer[row + r] for r in there if self._spans[i][r]]
                if right:
                    silence = every[row].new_zeros(())
                    all_spans = torch.stack([silence, *(every[row + r] for r in there)])
                    log_p = torch.stack(right).logsumexp(0) - all_spans.logsumexp(0)
                    losses.append(-weight * log_p)
            row += len(mine)
        total = sum(sum(self._shown[i].weights) for i in batch)
        return torch.stack([every[0].new_zeros(()), *losses]).sum() / total

    def _log_sums(
        self, windows: Sequence[Window], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """log Σ exp of each window's log-odds, of the spans that are an answer and of all.

        Windows of similar length pass together, however many there are: half of a batch of long texts
        and their ends would else be padding.
        """
        answer, every = [torch.empty(0)] * len(windows), [torch.empty(0)] * len(windows)
        for places in self.backbone.buckets([len(window) for window in windows]):
            some = [windows[place] for place in places]
            with self.backbone.using(self.adapter_in_training(), self._dropout):
                states, mask = self.backbone.pair_states(some, self._settings.layers)
            passage = passage_mask(some, mask.shape[1]).to(self.device)
            with torch.autocast(self.device.type, enabled=False):
                start, end = SpanHead(self._head_parameters).logits(states, choosable(passage))
                width = min(self._settings.answer_width, start.shape[1])
                odds = span_log_odds(start, end, passage, width).flatten(1)
                for place, of_all, row in zip(
                    places, torch.logsumexp(odds, dim=1), odds, strict=True
                ):
                    every[place] = of_all
                    answer[place] = _sum(
                        [row[first * width + last - first] for first, last in spans[place]], odds
                    )
        return answer, every

    def evaluate(self) -> Mapping[str, float]:
        """Whatever the given measure says of the reader as it stands."""
        return self._evaluate(reader_of(self.backbone, self.part(), self._settings))

    def part(self, parameters: Mapping[str, Tensor] | None = None) -> Part:
        """The adapter and head with these weights, or with those of this moment."""
        adapter, head = self.weights(parameters)
        return Part(adapter, SpanHead(head))


def reader_of(backbone: Backbone, part: Part, settings: ReaderSettings) -> SpanReader:
    """A reader of these weights; it is in the backbone until the next one takes its place."""
    backbone.add_adapter(_ADAPTER, part.adapter)
    return SpanReader(backbone, part.head, _ADAPTER, settings)


def _sum(values: Sequence[Tensor], like: Tensor) -> Tensor:
    """log Σ exp of values, -inf of none."""
    return torch.stack(list(values)).logsumexp(0) if values else like.new_tensor(-torch.inf)


def _windows(
    backbone: Backbone, shown: Sequence[Shown], settings: ReaderSettings
) -> list[list[tuple[int, Window]]]:
    """Every selection's windows, each with the place of its text."""
    owners = [(i, place) for i, each in enumerate(shown) for place in range(len(each.texts))]
    owners = [(i, place) for i, place in owners if shown[i].texts[place]]
    pairs = [(shown[i].question, shown[i].texts[place]) for i, place in owners]
    found: list[list[tuple[int, Window]]] = [[] for _ in shown]
    for window in backbone.windows(pairs, settings.max_length, settings.overlap):
        i, place = owners[window.pair]
        found[i].append((place, window))
    return found


def _spans(window: Window, marked: Sequence[tuple[int, int]], width: int) -> list[tuple[int, int]]:
    """The first and last tokens of the mentions that a window holds whole, each once."""
    found = (token_span(window.offsets, *mention) for mention in marked)
    return list(dict.fromkeys(span for span in found if span and span[1] - span[0] < width))
