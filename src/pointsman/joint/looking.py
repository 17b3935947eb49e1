"""LookingSelector: a reader looks at every candidate first, and what it saw says which to answer from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.specialist import Specialist, load_specialist
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, InputError, SpecialistError
from pointsman.read.head import SpanHead
from pointsman.read.look import look
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.task import Part as ReaderPart
from pointsman.select.looked import Choice, features, selection
from pointsman.select.selector import KIND, ListSelector
from pointsman.types import FloatArray, Passage, Selection

LOOK = "look"
"""The policy of a selector's record that looks first."""

_CHOICE = "choice.weight"
_SPAN = "span."


@dataclass(frozen=True, slots=True)
class LookSettings:
    """`passages` is how many are chosen at most; the `reader` that looks reads as its settings say."""

    passages: int = 5
    reader: ReaderSettings = field(default_factory=ReaderSettings)

    def __post_init__(self) -> None:
        if self.passages < 1:
            raise ConfigError(f"a selector chooses at least 1 passage, not {self.passages}")
        if self.reader.joined:
            raise ConfigError("a reader of joined passages cannot look at each by itself")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> LookSettings:
        """From a specialist's recorded settings."""
        try:
            return cls(int(settings["passages"]), ReaderSettings.of(settings["reader"]))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise SpecialistError(f"the selector's settings are incomplete ({error!r})") from error

    def record(self) -> dict[str, Any]:
        """As plain values for the specialist's file."""
        return {"policy": LOOK, **asdict(self)}


@dataclass(frozen=True, eq=False)
class LookPart:
    """What such a selector is made of: the reader that looks, and how what it saw is weighed."""

    reader: ReaderPart
    choice: Choice

    def head(self) -> dict[str, Tensor]:
        """As the tensors of a specialist's head."""
        span = {f"{_SPAN}{name}": tensor for name, tensor in self.reader.head.tensors.items()}
        return {_CHOICE: torch.from_numpy(self.choice.weights).float(), **span}

    @classmethod
    def of(cls, specialist: Specialist) -> LookPart:
        """From a specialist. Raises SpecialistError where its head is another one's."""
        span = {
            name.removeprefix(_SPAN): tensor
            for name, tensor in specialist.head.items()
            if name.startswith(_SPAN)
        }
        if _CHOICE not in specialist.head:
            raise SpecialistError(f"the head of the selector {specialist.name} has no {_CHOICE}")
        try:
            choice = Choice(specialist.head[_CHOICE].double().numpy())
        except InputError as error:
            raise SpecialistError(f"the head of the selector {specialist.name}: {error}") from error
        return cls(ReaderPart(specialist.adapter, SpanHead(span)), choice)


class LookingSelector:
    """Chooses by a first look at all candidates (protocol `Selector`)."""

    def __init__(self, reader: SpanReader, choice: Choice, settings: LookSettings) -> None:
        self.reader = reader
        self.choice = choice
        self.settings = settings

    @classmethod
    def of(cls, backbone: Backbone, specialist: Specialist) -> LookingSelector:
        """Put a loaded specialist onto a backbone. Raises SpecialistError, BackboneMismatchError."""
        name = f"{KIND}:{specialist.name}"
        settings, part = LookSettings.of(specialist.settings), LookPart.of(specialist)
        backbone.add_adapter(name, specialist.adapter, specialist.base_sha256)
        reader = SpanReader(backbone, part.reader.head, name, settings.reader)
        return cls(reader, part.choice, settings)

    def at_most(self, passages: int) -> LookingSelector:
        """The same selector, which chooses no more than so many."""
        if passages >= self.settings.passages:
            return self
        return LookingSelector(self.reader, self.choice, replace(self.settings, passages=passages))

    def select(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> list[Selection]:
        """The likeliest candidates of each question, and what makes the reader answer from the first."""
        found = []
        seen = look(self.reader, questions, passages, deadline)
        for question, given, each, known in zip(questions, passages, seen, relevance, strict=True):
            texts = [passage.content for passage in given]
            scores = self.choice.scores(features(each, question, texts, known))
            chosen = selection(scores, each.best, self.settings.passages)
            found.append(replace(chosen, gflops=each.gflops, reason="after a first look at all"))
        return found


def load_selector(backbone: Backbone, folder: Path) -> ListSelector | LookingSelector:
    """The selector of a folder, whatever its policy, on a backbone.

    Raises SpecialistError, BackboneMismatchError.
    """
    specialist = load_specialist(folder, KIND)
    if specialist.settings.get("policy") == LOOK:
        return LookingSelector.of(backbone, specialist)
    return ListSelector.of(backbone, specialist)
