"""ListSelector: reads a question with each of its candidates, lets them see one another, and chooses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.pair_features import feature_width
from pointsman.backbone.pair_reading import read_pairs
from pointsman.backbone.specialist import Specialist, load_specialist
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, SpecialistError
from pointsman.links import FEATURES as LINKS
from pointsman.links import links
from pointsman.select.chooser import Chooser, Policy
from pointsman.select.permutation import END
from pointsman.select.pointer import LARGEST, PointerHead
from pointsman.types import FloatArray, Passage, Selection
from pointsman.wording import FEATURES, wording

KIND = "selector"

# Beside what the backbone says of a pair and its wording: the candidate's rank and relevance.
_EXTRA = len(FEATURES) + 2


@dataclass(frozen=True, slots=True)
class SelectorSettings:
    """`passages` is how many are chosen at most, `max_length` how many tokens of a pair are read. What the
    selector believes counts `belief` times for the reader; 0: not at all.
    """

    policy: Policy = "pointer"
    passages: int = 5
    max_length: int = 256
    belief: float = 0.0

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ConfigError(
                f"a selector's policy is one of {', '.join(get_args(Policy))}, not {self.policy!r}"
            )
        if not 1 <= self.passages <= LARGEST:
            raise ConfigError(f"a selector chooses 1 to {LARGEST} passages, not {self.passages}")
        if not 0 <= self.belief < math.inf:
            raise ConfigError(f"what a selector believes counts 0 times or more, not {self.belief}")

    @classmethod
    def of(cls, settings: Any) -> SelectorSettings:
        """From a specialist's recorded settings."""
        try:
            return cls(**settings)
        except (TypeError, ConfigError) as error:
            raise SpecialistError(f"the selector's settings are incomplete ({error})") from error

    @property
    def overlap(self) -> int:
        """How many tokens the windows of a longer passage share; the first one is looked at."""
        return self.max_length // 4

    def record(self) -> dict[str, Any]:
        """As plain values for the specialist's file."""
        return asdict(self)


def candidate_width(width: int, linked: bool = False) -> int:
    """How many features a candidate has on a backbone of width d; more where `links` are among them."""
    return feature_width(width) + _EXTRA + (len(LINKS) if linked else 0)


def is_linked(head: PointerHead, width: int) -> bool:
    """Whether a head on a backbone of width d sees how candidates name one another. Raises SpecialistError
    for a head of another backbone.
    """
    if head.features not in (candidate_width(width), candidate_width(width, linked=True)):
        raise SpecialistError(
            f"the selector's head looks at {head.features} features, this backbone gives "
            f"{candidate_width(width)}"
        )
    return head.features == candidate_width(width, linked=True)


def extras(
    questions: Sequence[str],
    passages: Sequence[Sequence[str]],
    relevance: Any,
    titles: Sequence[Sequence[str]] | None = None,
) -> FloatArray:
    """What is known of candidates beside their states [all candidates, 14]: wording, rank, relevance; and
    where their `titles` are given `links` too [all candidates, 22].

    Candidates come best first, so that a rank is a place; `relevance` has an array [n] a question, and
    counts against its mean there, so that ungraded candidates are all 0.
    """
    width = _EXTRA + (0 if titles is None else len(LINKS))
    rows: list[FloatArray] = [np.zeros((0, width), dtype=np.float32)]
    named = [None] * len(questions) if titles is None else titles
    for question, given, known, names in zip(questions, passages, relevance, named, strict=True):
        ranks = np.log1p(np.arange(len(given), dtype=np.float32)) / 3
        against = np.asarray(known, dtype=np.float32) - (np.mean(known) if len(given) else 0)
        beside = np.stack([ranks, against.astype(np.float32)], axis=1)
        columns = [wording([(question, text) for text in given]), beside]
        if names is not None:
            columns.append(links(question, names, given))
        rows.append(np.concatenate(columns, axis=1))
    return np.concatenate(rows)


class ListSelector:
    """A selector specialist on a backbone (protocol `Selector`)."""

    def __init__(
        self, backbone: Backbone, head: PointerHead, adapter: str | None, settings: SelectorSettings
    ) -> None:
        self._linked = is_linked(head, backbone.shape.width)
        self.backbone = backbone
        self.settings = settings
        self.chooser = Chooser(head, settings.policy, settings.passages)
        self._adapter = adapter

    @classmethod
    def load(cls, backbone: Backbone, folder: Path) -> ListSelector:
        """Put the selector of a folder onto a backbone. Raises SpecialistError, BackboneMismatchError."""
        return cls.of(backbone, load_specialist(folder, KIND))

    @classmethod
    def of(cls, backbone: Backbone, specialist: Specialist) -> ListSelector:
        """Put a loaded specialist onto a backbone."""
        name = f"{KIND}:{specialist.name}"
        backbone.add_adapter(name, specialist.adapter, specialist.base_sha256)
        settings = SelectorSettings.of(specialist.settings)
        return cls(backbone, PointerHead(specialist.head), name, settings)

    def at_most(self, passages: int) -> ListSelector:
        """The same selector, which chooses no more than so many."""
        if passages >= self.settings.passages:
            return self
        settings = replace(self.settings, passages=passages)
        return ListSelector(self.backbone, self.chooser.head, self._adapter, settings)

    def select(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> list[Selection]:
        """The likeliest candidate at every step until it stops, or the likeliest set, of each question."""
        features, gflops = self.features(questions, passages, relevance, deadline)
        found = selections(
            self.chooser,
            torch.from_numpy(features),
            [len(given) for given in passages],
            self.settings.belief,
        )
        return [replace(each, gflops=float(cost)) for each, cost in zip(found, gflops, strict=True)]

    def features(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """What the head looks at [all candidates, f], question after question, and GFLOPs [q]."""
        texts = [[passage.content for passage in given] for given in passages]
        pairs = [
            (question, text)
            for question, given in zip(questions, texts, strict=True)
            for text in given
        ]
        read = read_pairs(
            self.backbone,
            pairs,
            self._adapter,
            self.settings.max_length,
            self.settings.overlap,
            deadline,
        )
        titles = [[passage.title for passage in given] for given in passages]
        beside = extras(questions, texts, relevance, titles if self._linked else None)
        features = np.concatenate([read.of_first_windows(), beside], axis=1)
        owner = np.repeat(np.arange(len(questions)), [len(given) for given in texts])
        gflops = np.bincount(owner, weights=read.gflops, minlength=len(questions))
        return features, np.asarray(gflops, dtype=np.float32)


def selections(
    chooser: Chooser, features: Tensor, counts: Sequence[int], weight: float = 0.0
) -> list[Selection]:
    """What a chooser takes of questions with so many candidates each, from their features [all, f], and
    what it believes of them, times `weight`.
    """
    with torch.no_grad():
        seen = chooser.head.candidates(*padded(features, counts))
        chosen = chooser.best(seen)
        chances, reasons = chooser.chances(seen, chosen)
        beliefs = (weight * seen.first.log_softmax(-1)).cpu().numpy()
    orders = [row[row != END].numpy().astype(np.int64) for row in chosen]
    return [
        Selection(order, row[:count], 0.0, believed[:count] if weight else None, reason)
        for order, row, believed, count, reason in zip(
            orders, chances.cpu().numpy(), beliefs, counts, reasons, strict=True
        )
    ]


def padded(features: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Features [all candidates, f] as [q, most candidates, f], and which of them are there [q, n]."""
    most = max([*counts, 1])
    there = torch.arange(most) < torch.tensor(counts, dtype=torch.long).reshape(-1, 1)
    there = there.to(features.device)
    found = features.new_zeros(len(counts), most, features.shape[1])
    return found.masked_scatter(there.unsqueeze(-1), features), there
