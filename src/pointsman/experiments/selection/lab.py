"""The selectors and readers of the selection tables: each is trained once, and what it gives is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.device import trains_in_bf16
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import weights_digest
from pointsman.data.arrays import ArrayCache
from pointsman.experiments.report import Show
from pointsman.experiments.selection.bed import Bed
from pointsman.experiments.selection.remembered import RememberingReader
from pointsman.joint.asked import Asked, digest, lists
from pointsman.joint.em import DOUBT, Iteration, reader_task, ready, train_together, warm_up
from pointsman.joint.estimate import explained
from pointsman.joint.make import WIDTH, fresh_selector, tuned
from pointsman.joint.make_look import Seen, fit, see
from pointsman.joint.marked import first, marked
from pointsman.joint.measures import Measured, measured, ranked
from pointsman.joint.recipe import Both, Looks, Recipe, Trains
from pointsman.protocols import Reader
from pointsman.read.joined import as_read
from pointsman.read.marginal import Shown, reader_of
from pointsman.read.reader import ReaderSettings
from pointsman.read.task import Part as ReaderPart
from pointsman.select.chooser import Chooser, Policy
from pointsman.select.looked import selection
from pointsman.select.selector import SelectorSettings, is_linked, selections
from pointsman.select.task import Part as SelectorPart
from pointsman.select.task import read_lists
from pointsman.training.loop import Plan, Progress, train
from pointsman.types import Selection

T = TypeVar("T")

Begins = Literal["apart", "head", "nothing"]

LOWER = 3
"""Layers that stay as they are while selector and reader learn."""

# A likelihood no smaller than this is counted, where an answer may stand in no selection.
_NEVER = 1e-6


@dataclass(frozen=True, slots=True)
class Plans:
    """How everything is trained: the reader apart, the selector's head on an adapter that stays, then both
    of the selector, and the two together.
    """

    reader: Plan
    head: Plan
    warm: Plan
    together: Recipe = field(default_factory=lambda: Recipe(frozen=True))


def usual(backbone: Backbone) -> Plans:
    """The plans of the tables.

    A head learns on states that are read once: it takes three times an adapter's rate and four times its
    steps. Chosen on questions of the dev parts that no other sample holds.
    """
    fast = trains_in_bf16(backbone.device)
    plan = Plan(measure=None, epochs=2, learning_rate=3e-4, evaluations=1, bf16=fast)
    head = replace(plan, epochs=4, learning_rate=1e-3)
    warm = replace(plan, epochs=1)
    layers = min(LOWER, backbone.shape.layers // 2)
    usual = tuned(Recipe(frozen=True, iterations=3, from_layer=layers), backbone)
    # A head that has learned is moved by a few hundred questions at a tenth of that: at 1e-3 the likelihood
    # of new answers rises less, and which passage is the right one is forgotten.
    step = replace(usual.selector_plan, epochs=4, learning_rate=1e-4)
    return Plans(plan, head, warm, replace(usual, selector_plan=step))


def joined(plans: Plans) -> Plans:
    """The same for questions whose passages are read as one text."""
    together = plans.together
    return replace(
        plans,
        together=replace(
            together,
            selector=replace(together.selector, passages=4),
            reader=replace(together.reader, joined=True, max_length=512),
        ),
    )


class Lab:
    """Trains for one seed after the other; `folder` keeps the runs, `cache` what systems give.

    Readers begin as `reader`, and the selector on its adapter with a head that has learned nothing.
    `fast` measures, an encoder of the same weights that need not train.
    """

    def __init__(
        self,
        bed: Bed,
        backbone: Backbone,
        reader: ReaderPart,
        plans: Plans,
        folder: Path,
        cache: ArrayCache,
        show: Show,
        fast: Backbone | None = None,
    ) -> None:
        self.bed = bed
        self.backbone = backbone
        self.plans = plans
        self.fast = fast or backbone
        self._folder = folder
        self._cache = cache
        self._show = show
        self._reader = reader
        self._kept: dict[tuple[object, ...], object] = {}
        self._readers: dict[str, RememberingReader] = {}

    @property
    def depends(self) -> tuple[object, ...]:
        """What is measured here, but for the row and the seed: weights, plans, and what is asked.

        Not the order and the scores of a search or of a grader, whose last digits are a machine's own, and
        not whether the machine trains in bf16.
        """
        bed = self.bed
        samples = {"taught": bed.taught, "together": bed.together, "dev": bed.dev, **bed.tests}
        asked = [
            (name, each.question, each.answers, len(each.passages))
            for name, sample in samples.items()
            for each in sample
        ]
        start = weights_digest(self._reader.adapter, self._reader.head.tensors)
        plans = repr(self.plans).replace("bf16=True", "bf16=False")
        taught_by = ("whole", DOUBT) if self.settings.joined else ()
        return self.backbone.identity.sha256, plans, start, asked, *taught_by

    # ---- apart

    def reader(self, seed: int) -> ReaderPart:
        """The reader as it learned apart, from marked passages, where there is something to learn."""
        if not self.bed.read:
            return self._reader
        return self._once(
            ("reader", seed),
            lambda: self._taught_reader(
                "reader", seed, self._reader, self.bed.read, self.plans.reader
            ),
        )

    def selector(self, seed: int) -> SelectorPart:
        """The selector as it learned apart, from marked passages: its head first, then its adapter too."""
        return self._selector(seed, self.settings.joined)

    def linked_selector(self, seed: int) -> SelectorPart:
        """The same of one that sees which candidates name one another."""
        return self._selector(seed, self.settings.joined, linked=True)

    def selector_of_first_choices(self, seed: int) -> SelectorPart:
        """The same of one that learned each marked passage as a first choice alone."""
        return self._selector(seed, whole=False)

    def head_alone(self, seed: int, width: int) -> SelectorPart:
        """A selector's head of this width as it learned apart, on the reader's adapter as it is."""
        return self._head(seed, width, self.settings.joined)

    def marked(self, seed: int) -> Both:
        """The two after they learned apart from the questions of `together` too, all passages marked."""

        def make() -> Both:
            shown = marked(self.bed.together, joined=self.settings.joined)
            recipe = self.plans.together
            plan = replace(recipe.reader_plan, epochs=recipe.iterations)
            taught = self._taught_selector(
                "marked-selector",
                seed,
                self.selector(seed),
                self.bed.together,
                whole=self.settings.joined,
            )
            return Both(
                ready(taught) if self.settings.joined else taught,
                self._taught_reader("marked-reader", seed, self.reader(seed), shown, plan),
            )

        return self._once(("marked", seed), make)

    def reader_on_retrieval(self, seed: int) -> ReaderPart:
        """The reader trained on the first passages in the order of retrieval, once an iteration."""

        def make() -> ReaderPart:
            shown = first(self.bed.together, self.passages, joined=self.settings.joined)
            recipe = self.plans.together
            plan = replace(recipe.reader_plan, epochs=recipe.iterations)
            return self._taught_reader("retrieval-reader", seed, self.reader(seed), shown, plan)

        return self._once(("retrieval", seed), make)

    # ---- together

    def together(
        self,
        seed: int,
        policy: Policy,
        *,
        trains: Trains = "both",
        looks: Looks = "drawn",
        begins: Begins = "apart",
        linked: bool = False,
    ) -> list[Iteration]:
        """All iterations from where the two were when they had learned apart.

        Where the selector `begins` as a "head" that learned apart, or as "nothing" that has learned, its
        adapter is the reader's. A `linked` one sees which candidates name one another.
        """
        recipe = replace(self.recipe(policy), seed=seed, trains=trains, looks=looks)
        unusual = (
            trains if trains != "both" else "",
            looks if looks != "drawn" else "",
            begins if begins != "apart" else "",
            "linked" if linked else "",
        )
        name = "-".join([policy, *filter(None, unusual)])

        def measure(both: Both) -> Mapping[str, float]:
            dev = self.bed.dev
            chosen = self.choose(both.selector, policy, "dev", dev)
            found = measured(dev, chosen, self.read_by(both.reader)).means()
            read = self._pairs(both.selector, "dev", dev, recipe.selector)
            log_p, entropy = explained(self.fast, dev, both, replace(recipe, seed=0), read)
            shares = torch.exp(log_p).clamp(min=_NEVER)
            return {**found, "log p": float(shares.log().mean()), "entropy": entropy}

        def begun() -> SelectorPart:
            if begins == "nothing":
                return fresh_selector(self.backbone, seed, self._reader.adapter)
            if begins == "head":
                return self.head_alone(seed, WIDTH)
            return self.linked_selector(seed) if linked else self.selector(seed)

        def make() -> list[Iteration]:
            start = Both(begun(), self.reader(seed))
            return train_together(
                self.backbone,
                self.bed.together,
                start,
                recipe,
                self._run(name, seed, digest(self.bed.together), digest(self.bed.dev)),
                measure,
                lambda what, progress: self._training(f"seed {seed}, {name}, {what}", progress),
                fast=self.fast,
                read=self._pairs(start.selector, "together", self.bed.together, recipe.selector),
                watched=digest(self.bed.dev),
            )

        return self._once(("together", name, seed), make)

    # ---- what they give

    def choose(
        self,
        part: SelectorPart,
        policy: Policy,
        name: str,
        asked: Sequence[Asked],
        belief: float = 0.0,
    ) -> list[Selection]:
        """What a selector takes, and what it believes of it, so many times."""
        given = lists(asked)
        settings = self.recipe(policy).selector
        states = self._pairs(part, name, asked, settings)
        beside = given.extras(is_linked(part.head, self.backbone.shape.width))
        chooser = Chooser(part.head, policy, settings.passages)
        return selections(chooser, torch.cat([states, beside], dim=1), given.counts, belief)

    def look(
        self, part: ReaderPart, taught: Sequence[Asked], name: str, asked: Sequence[Asked]
    ) -> list[Selection]:
        """What a first look through this reader chooses, weighed as it is best for the questions `taught`."""
        choice = fit(self._seen(part, "taught", taught))
        return [
            selection(choice.scores(each.features), each.best, self.passages)
            for each in self._seen(part, name, asked)
        ]

    def measured(
        self,
        row: str,
        name: str,
        asked: Sequence[Asked],
        chosen: Sequence[Selection],
        part: ReaderPart,
    ) -> Measured:
        """What a reader makes of selections; kept."""

        def make() -> np.ndarray:
            self._show(f"{row}: {name}", 0, len(asked))
            return measured(asked, chosen, self.read_by(part)).columns

        orders = [
            (
                ranked(taken, len(each.passages)),
                len(taken.order),
                None if taken.beliefs is None else taken.beliefs.tolist(),
            )
            for each, taken in zip(asked, chosen, strict=True)
        ]
        depends = (
            self.backbone.identity.sha256,
            weights_digest(part.adapter, part.head.tensors),
            self.settings,
            digest(asked),
            orders,
        )
        return Measured.of(self._cache.get(f"measured-{name}", depends, make))

    def read_by(self, part: ReaderPart) -> Reader:
        """A reader at work. One that sees a passage at a time remembers what it read."""
        reader = as_read(reader_of(self.fast, part, self.settings))
        if self.settings.joined:
            return reader
        key = weights_digest(part.adapter, part.head.tensors)
        if key not in self._readers:
            self._readers[key] = RememberingReader(reader)
        remembering = self._readers[key]
        # The adapter of whoever read last is in the encoder.
        remembering.reader = reader
        return remembering

    def recipe(self, policy: Policy) -> Recipe:
        """How the two are trained together."""
        usual = self.plans.together
        settings = SelectorSettings(policy, usual.selector.passages, usual.selector.max_length)
        return replace(usual, selector=settings)

    @property
    def settings(self) -> ReaderSettings:
        """The readers'."""
        return self.plans.together.reader

    @property
    def passages(self) -> int:
        """So many are read at most."""
        return self.plans.together.selector.passages

    def _seen(self, part: ReaderPart, name: str, asked: Sequence[Asked]) -> list[Seen]:
        """What a reader sees in candidates; kept."""

        def make() -> np.ndarray:
            self._show(f"looking at the candidates of {name}", 0, len(asked))
            seen = see(reader_of(self.fast, part, self.settings), asked)
            return np.concatenate(
                [np.column_stack([each.features, each.best, each.worth]) for each in seen]
            )

        depends = (
            self.backbone.identity.sha256,
            weights_digest(part.adapter, part.head.tensors),
            self.settings,
            digest(asked),
        )
        ends = np.cumsum([len(each.passages) for each in asked])[:-1]
        rows = np.split(self._cache.get(f"looked-{name}", depends, make), ends)
        return [Seen(each[:, :-2], each[:, -2], each[:, -1]) for each in rows]

    def _pairs(
        self, part: SelectorPart, name: str, asked: Sequence[Asked], settings: SelectorSettings
    ) -> Tensor:
        """What a selector's adapter says of the pairs; kept."""
        given = lists(asked)

        def read() -> np.ndarray:
            self._show(f"reading the candidates of {name}", 0, len(given.pairs))
            return read_lists(self.fast, part.adapter, given, settings).numpy()

        lengths = (settings.max_length, settings.overlap)
        key = (self.backbone.identity.sha256, weights_digest(part.adapter), digest(asked), lengths)
        return torch.from_numpy(self._cache.get(f"pairs-{name}", key, read)).float()

    def _taught_reader(
        self, what: str, seed: int, start: ReaderPart, shown: Sequence[Shown], plan: Plan
    ) -> ReaderPart:
        task = reader_task(self.backbone, start, shown, self.plans.together, seed)
        folder = self._run(what, seed, repr(shown), plan)
        show = partial(self._training, f"seed {seed}: {what}")
        return task.part(train(task, replace(plan, seed=seed), folder, show).parameters)

    def _selector(self, seed: int, whole: bool, linked: bool = False) -> SelectorPart:
        what = "linked-selector" if linked else "selector"

        def make() -> SelectorPart:
            begun = self._head(seed, WIDTH, whole, linked)
            taught = self._taught_selector(what, seed, begun, self.bed.taught, whole=whole)
            return ready(taught) if whole else taught

        return self._once((what, whole, seed), make)

    def _head(self, seed: int, width: int, whole: bool, linked: bool = False) -> SelectorPart:
        what = f"linked-head-{width}" if linked else f"head-{width}"

        def make() -> SelectorPart:
            begun = fresh_selector(
                self.backbone, seed, self._reader.adapter, width=width, linked=linked
            )
            taught = self.bed.taught
            return self._taught_selector(what, seed, begun, taught, whole=whole, frozen=True)

        return self._once((what, whole, seed), make)

    def _taught_selector(
        self,
        what: str,
        seed: int,
        start: SelectorPart,
        asked: Sequence[Asked],
        *,
        whole: bool,
        frozen: bool = False,
    ) -> SelectorPart:
        plan = replace(self.plans.head if frozen else self.plans.warm, seed=seed)
        return warm_up(
            self.backbone,
            asked,
            start,
            replace(self.recipe("pointer"), frozen=frozen),
            plan,
            self._run(what, seed, digest(asked), plan, *(["whole"] if whole else [])),
            lambda _: {},
            partial(self._training, f"seed {seed}: {what}"),
            read=self._pairs(start, what, asked, self.recipe("pointer").selector)
            if frozen
            else None,
            whole=whole,
        )

    def _once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
        return cast(T, self._kept[key])

    def _run(self, what: str, seed: int, *data: object) -> Path:
        start = weights_digest(self._reader.adapter, self._reader.head.tensors)
        parts = (self.backbone.identity.sha256, self.plans, start, *data)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
        return self._folder / f"{what}-{seed}-{key}"

    def _training(self, what: str, progress: Progress) -> None:
        self._show(what, progress.step, progress.steps)
