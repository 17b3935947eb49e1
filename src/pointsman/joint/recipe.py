"""How a selector and a reader are trained together, and the weights of the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import weights_digest
from pointsman.errors import ConfigError
from pointsman.read.marginal import reader_of
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.task import Part as ReaderPart
from pointsman.select.selector import ListSelector, SelectorSettings
from pointsman.select.task import Part as SelectorPart
from pointsman.select.task import selector_of
from pointsman.training.loop import Plan

Trains = Literal["both", "selector", "reader"]
Looks = Literal["drawn", "likeliest"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How selector and reader are trained together.

    `samples` is the paper's m; `iterations` its N. What a selector's policy is decides the estimate:
    "pointer" draws, or looks at its "likeliest" selections in place of chance's; "sets" counts all.
    `trains` leaves one of the two as it began. A `frozen` selector trains its head alone.
    """

    selector: SelectorSettings = field(default_factory=SelectorSettings)
    reader: ReaderSettings = field(default_factory=ReaderSettings)
    samples: int = 4
    iterations: int = 5
    looks: Looks = "drawn"
    trains: Trains = "both"
    frozen: bool = False
    from_layer: int = 0
    selector_batch: int = 8
    reader_batch: int = 8
    selector_plan: Plan = field(
        default_factory=lambda: Plan(measure=None, epochs=1, learning_rate=2e-4, evaluations=1)
    )
    reader_plan: Plan = field(
        default_factory=lambda: Plan(measure=None, epochs=1, learning_rate=1e-4, evaluations=1)
    )
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trains not in get_args(Trains):
            raise ConfigError(
                f"what is trained is one of {', '.join(get_args(Trains))}, not {self.trains!r}"
            )
        if self.looks not in get_args(Looks):
            raise ConfigError(
                f"an estimate looks at selections that are {' or '.join(get_args(Looks))}, not {self.looks!r}"
            )
        if self.reader.joined and self.selector.policy == "sets":
            raise ConfigError(
                "a joined reader sees passages together, so that sets cannot be priced passage by "
                "passage; take the policy pointer"
            )
        for value, what in ((self.samples, "sample"), (self.iterations, "iteration")):
            if value < 1:
                raise ConfigError(f"at least 1 {what} is needed, not {value}")


@dataclass(frozen=True, eq=False)
class Both:
    """A selector's and a reader's weights."""

    selector: SelectorPart
    reader: ReaderPart

    @property
    def digest(self) -> str:
        """Changes with any of the weights."""
        return " ".join(
            weights_digest(part.adapter, part.head.tensors) for part in (self.selector, self.reader)
        )

    def on(self, backbone: Backbone, recipe: Recipe) -> tuple[ListSelector, SpanReader]:
        """The two at work."""
        return (
            selector_of(backbone, self.selector, recipe.selector),
            reader_of(backbone, self.reader, recipe.reader),
        )
