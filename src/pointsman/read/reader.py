"""SpanReader: reads several passages at once and answers with spans of them, n best, calibrated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.flops import Shape
from pointsman.backbone.pairs import Window
from pointsman.backbone.specialist import Specialist, load_specialist
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, SpecialistError
from pointsman.read.confidence import UNCALIBRATED, Calibration, features
from pointsman.read.head import SpanHead, choosable
from pointsman.read.spans import joint_log_probabilities, span_log_odds, window_partition
from pointsman.types import Passage, Reading, Span

KIND = "reader"


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """How pairs are cut and spans are chosen. Lengths count tokens. A `joined` reader sees a question's
    passages as one text (`read.joined`). A shallow one runs no more than the encoder's first `layers`.
    """

    max_length: int = 384
    overlap: int = 128
    answer_width: int = 30
    calibration: Calibration = UNCALIBRATED
    joined: bool = False
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.layers is not None and self.layers < 1:
            raise ConfigError(f"a reader runs at least 1 layer, not {self.layers}")

    @classmethod
    def of(cls, settings: Any) -> ReaderSettings:
        """From a specialist's recorded settings."""
        try:
            given = dict(settings)
            calibration = dict(given.pop("calibration"))
            return cls(
                calibration=Calibration(tuple(calibration["weights"]), float(calibration["bias"])),
                **given,
            )
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise SpecialistError(f"the reader's settings are incomplete ({error!r})") from error

    def record(self) -> dict[str, Any]:
        """As plain values for the specialist's file."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: int
    start: int
    end: int
    odds: float


Odds = Iterator[tuple[Sequence[Window], Tensor]]
"""Windows in batches, each with its spans' log-odds [windows, length, width]; see `span_log_odds`."""


class WindowReader(ABC):
    """What readers have in common that look at windows of passages (protocol `Reader`)."""

    settings: ReaderSettings
    shape: Shape

    @abstractmethod
    def span_odds(self, pairs: Sequence[tuple[str, str]], deadline: Deadline | None = None) -> Odds:
        """The windows of (question, passage) pairs in batches; each once, in any order."""

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        n_best: int = 1,
        deadline: Deadline | None = None,
    ) -> list[Reading]:
        """Read each question's passages; all questions' windows share batches.

        What is believed of a passage is added to the log-odds of its spans.

        A question without passages, or whose passages have no text, gets a reading without spans.
        """
        pairs: list[tuple[str, str]] = []
        owner: list[tuple[int, int]] = []
        for q, (question, given) in enumerate(zip(questions, passages, strict=True)):
            for p, passage in enumerate(given):
                pairs.append((question, passage.text))
                owner.append((q, p))
        candidates: list[list[_Candidate]] = [[] for _ in questions]
        partitions: list[list[float]] = [[] for _ in questions]
        gflops = [0.0 for _ in questions]
        beliefs = torch.tensor([passage.belief for given in passages for passage in given])
        for windows, odds in self.span_odds(pairs, deadline):
            believed = beliefs[[window.pair for window in windows]].to(odds.device)
            odds = odds + believed[:, None, None].to(odds.dtype)
            _collect(windows, odds, owner, n_best, candidates, partitions)
            window_gflops = self.shape.forward_gflops(1, odds.shape[1])
            for window in windows:
                gflops[owner[window.pair][0]] += window_gflops
        return [
            replace(
                self._reading(candidates[q], partitions[q], passages[q], n_best), gflops=gflops[q]
            )
            for q in range(len(questions))
        ]

    def _reading(
        self,
        candidates: Sequence[_Candidate],
        partitions: Sequence[float],
        passages: Sequence[Passage],
        n_best: int,
    ) -> Reading:
        if not candidates:
            return Reading(spans=(), no_answer=1.0, confidence=0.0)
        # The partition runs over all spans of all windows, not only over those that were kept.
        _, log_null = joint_log_probabilities(torch.tensor(partitions, dtype=torch.float64))
        no_answer = float(log_null.exp())
        distinct: dict[tuple[int, int, int], _Candidate] = {}
        for candidate in sorted(candidates, key=lambda c: -c.odds):
            distinct.setdefault((candidate.passage, candidate.start, candidate.end), candidate)
        spans = tuple(
            Span(
                text=passages[c.passage].text[c.start : c.end],
                passage=c.passage,
                start=c.start,
                end=c.end,
                score=c.odds,
                probability=float(np.exp(c.odds + float(log_null))),
            )
            for c in list(distinct.values())[:n_best]
        )
        x = features(
            np.asarray([spans[0].probability]),
            np.asarray([no_answer]),
            np.asarray([len(passages)], dtype=np.float64),
            np.asarray([len(spans[0].text)], dtype=np.float64),
        )
        confidence = float(self.settings.calibration.apply(x)[0])
        return Reading(spans=spans, no_answer=no_answer, confidence=confidence)


class SpanReader(WindowReader):
    """A reader specialist on a backbone (protocol `Reader`)."""

    def __init__(
        self, backbone: Backbone, head: SpanHead, adapter: str | None, settings: ReaderSettings
    ) -> None:
        self.backbone = backbone
        self.settings = settings
        self.shape = backbone.shape.first(settings.layers)
        self._head = head
        self._adapter = adapter

    @classmethod
    def load(cls, backbone: Backbone, folder: Path) -> SpanReader:
        """Put the reader of a folder onto a backbone. Raises SpecialistError, BackboneMismatchError."""
        return cls.of(backbone, load_specialist(folder, KIND))

    @classmethod
    def of(cls, backbone: Backbone, specialist: Specialist) -> SpanReader:
        """Put a loaded specialist onto a backbone."""
        name = f"{KIND}:{specialist.name}"
        backbone.add_adapter(name, specialist.adapter, specialist.base_sha256)
        settings = ReaderSettings.of(specialist.settings)
        return cls(backbone, SpanHead(specialist.head), name, settings)

    def calibrated(self, calibration: Calibration) -> SpanReader:
        """The same reader with another calibration."""
        settings = replace(self.settings, calibration=calibration)
        return SpanReader(self.backbone, self._head, self._adapter, settings)

    def span_odds(self, pairs: Sequence[tuple[str, str]], deadline: Deadline | None = None) -> Odds:
        """The windows of (question, passage) pairs in batches; each once, in any order."""
        for batch in self.backbone.tokens(
            pairs,
            self._adapter,
            max_length=self.settings.max_length,
            overlap=self.settings.overlap,
            layers=self.settings.layers,
            deadline=deadline,
        ):
            passage_tokens = batch.passage_mask()
            start, end = self._head.logits(batch.states, choosable(passage_tokens))
            width = min(self.settings.answer_width, start.shape[1])
            yield batch.windows, span_log_odds(start, end, passage_tokens, width)


def _collect(
    windows: Sequence[Window],
    odds: Tensor,
    owner: Sequence[tuple[int, int]],
    n_best: int,
    candidates: list[list[_Candidate]],
    partitions: list[list[float]],
) -> None:
    width = odds.shape[2]
    totals = window_partition(odds).cpu().tolist()
    # More than n_best a window: some name the same answer, and overlapping windows repeat spans.
    keep = min(4 * n_best + 4, odds[0].numel())
    best, places = odds.flatten(1).topk(keep, dim=1)
    for row, window in enumerate(windows):
        question, passage = owner[window.pair]
        partitions[question].append(totals[row])
        for value, place in zip(best[row].tolist(), places[row].tolist(), strict=True):
            if value == float("-inf"):
                break
            first, last = place // width, place // width + place % width
            candidates[question].append(
                _Candidate(
                    passage, int(window.offsets[first, 0]), int(window.offsets[last, 1]), value
                )
            )
