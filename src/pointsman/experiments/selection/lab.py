"""The selectors and readers of the selection tables: each is trained once, and what it gives is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.data.arrays import ArrayCache
from pointsman.experiments.report import Show
from pointsman.experiments.selection.bed import Bed
from pointsman.joint.asked import Asked, digest, lists
from pointsman.joint.em import Iteration, train_together, warm_up
from pointsman.joint.make import WARM, fresh_selector, tuned
from pointsman.joint.measures import CUTS, Measured, measured
from pointsman.joint.recipe import Both, Recipe, Trains
from pointsman.read.marginal import MarginalTask, Shown, reader_of
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.recipe import Recipe as ReaderRecipe
from pointsman.read.recipe import bf16_trains_well, train_reader
from pointsman.read.task import Part as ReaderPart
from pointsman.select.chooser import Chooser, Policy
from pointsman.select.selector import ListSelector, SelectorSettings, extras, selections
from pointsman.select.task import Part as SelectorPart
from pointsman.select.task import read_lists
from pointsman.training.loop import Plan, Progress, train
from pointsman.types import Selection

READ = 5
"""Passages that are read at most."""


@dataclass(frozen=True, slots=True)
class Plans:
    """How everything is trained."""

    reader: ReaderRecipe
    warm: Plan = WARM
    together: Recipe = field(default_factory=lambda: Recipe(frozen=True))


def usual(backbone: Backbone) -> Plans:
    """The plans of the tables: a reader without practice, so that a seed takes minutes."""
    plan = Plan(
        measure="f1", epochs=3, learning_rate=1e-3, evaluations=1, bf16=bf16_trains_well(backbone)
    )
    reader = ReaderRecipe(dropout=0.0, clozes=0, dev_questions=300, plan=plan)
    return Plans(reader, together=tuned(Recipe(frozen=True, reader=reader.settings), backbone))


class Lab:
    """Trains for one seed after the other; `folder` keeps the runs, `cache` what systems give."""

    def __init__(
        self,
        bed: Bed,
        backbone: Backbone,
        plans: Plans,
        folder: Path,
        cache: ArrayCache,
        show: Show,
    ) -> None:
        self.bed = bed
        self.backbone = backbone
        self.plans = plans
        self._folder = folder
        self._cache = cache
        self._show = show
        self._readers: dict[int, ReaderPart] = {}
        self._selectors: dict[tuple[int, Policy], SelectorPart] = {}

    def reader(self, seed: int) -> ReaderPart:
        """The reader as it learned apart, from questions with their own paragraph."""
        if seed not in self._readers:
            recipe = replace(self.plans.reader, plan=replace(self.plans.reader.plan, seed=seed))
            task, outcome = train_reader(
                self.backbone,
                self.bed.read,
                self.bed.read_dev,
                recipe,
                self._run("reader", seed),
                partial(self._training, f"seed {seed}: reader"),
            )
            self._readers[seed] = task.parts(outcome.parameters)
        return self._readers[seed]

    def selector(self, seed: int, policy: Policy) -> SelectorPart:
        """The selector as it learned apart, from marked passages, through an adapter of its own."""
        if (seed, policy) not in self._selectors:
            recipe = replace(self.recipe(policy, seed), frozen=False)
            bf16 = recipe.selector_plan.bf16

            def watched(selector: ListSelector) -> Mapping[str, float]:
                chosen = selector.select(
                    [each.question for each in self.bed.dev],
                    [each.passages for each in self.bed.dev],
                    [each.relevance for each in self.bed.dev],
                )
                first = [
                    one.order[0] in each.supporting
                    for each, one in zip(self.bed.dev, chosen, strict=True)
                ]
                return {"recall@1": float(np.mean(first))}

            self._selectors[seed, policy] = warm_up(
                self.backbone,
                self.bed.taught,
                fresh_selector(self.backbone, seed),
                recipe,
                replace(self.plans.warm, seed=seed, bf16=bf16),
                self._run(f"selector-{policy}", seed),
                watched,
                partial(self._training, f"seed {seed}: selector"),
            )
        return self._selectors[seed, policy]

    def recipe(self, policy: Policy, seed: int, trains: Trains = "both") -> Recipe:
        """How the two are trained together."""
        usual = self.plans.together
        settings = SelectorSettings(policy, READ, usual.selector.max_length)
        return replace(usual, selector=settings, trains=trains, seed=seed)

    def together(self, policy: Policy, seed: int, trains: Trains = "both") -> list[Iteration]:
        """All iterations from where the two were when they had learned apart."""
        recipe = self.recipe(policy, seed, trains)
        start = Both(self.selector(seed, policy), self.reader(seed))

        def measure(selector: ListSelector, reader: SpanReader) -> Mapping[str, float]:
            part = SelectorPart(start.selector.adapter, selector.chooser.head)
            chosen = self.choose(part, policy, "dev", self.bed.dev)
            return measured(self.bed.dev, chosen, reader).means()

        return train_together(
            self.backbone,
            self.bed.together,
            start,
            recipe,
            self._run(f"{policy}-{trains}", seed),
            measure,
            lambda what, progress: self._training(f"seed {seed}, {policy}, {what}", progress),
        )

    def reader_on_retrieval(self, seed: int) -> ReaderPart:
        """The reader trained on the first READ passages in the order of retrieval, once an iteration."""
        shown = [
            Shown.all_of(each.question, [p.text for p in each.passages[:READ]], each.answers)
            for each in self.bed.together
        ]
        recipe = self.plans.together
        plan = replace(recipe.reader_plan, seed=seed, epochs=recipe.iterations)
        task = MarginalTask(
            self.backbone,
            self.reader(seed),
            shown,
            lambda _: {"none": 0.0},
            settings=recipe.reader,
            batch_size=recipe.reader_batch,
            seed=seed,
        )
        outcome = train(
            task,
            plan,
            self._run("reader-on-retrieval", seed),
            partial(self._training, f"seed {seed}: reader on retrieval"),
        )
        return task.part(outcome.parameters)

    def choose(
        self, part: SelectorPart, policy: Policy, name: str, asked: Sequence[Asked]
    ) -> list[Selection]:
        """What a selector takes; what its adapter says of the pairs is kept."""
        given = lists(asked)
        settings = self.recipe(policy, 0).selector

        def read() -> np.ndarray:
            self._show(f"reading the candidates of {name}", 0, len(given.pairs))
            return read_lists(self.backbone, part.adapter, given, settings).numpy()

        key = (self.backbone.identity.sha256, _digest(part.adapter), digest(asked), settings)
        states = torch.from_numpy(self._cache.get(f"pairs-{name}", key, read)).float()
        beside = torch.from_numpy(extras(given.questions, given.texts, given.relevance))
        chooser = Chooser(part.head, policy, settings.passages)
        return selections(chooser, torch.cat([states, beside], dim=1), given.counts)

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
            found = measured(asked, chosen, reader_of(self.backbone, part, self.settings))
            columns = (found.em, found.f1, found.precision, found.found, found.passages, found.held)
            return np.stack([*columns, *(found.recall[k] for k in CUTS)])

        orders = [each.order.tolist() for each in chosen]
        depends = (
            self.backbone.identity.sha256,
            _digest(part.adapter, part.head.tensors),
            digest(asked),
            orders,
        )
        em, f1, precision, found, passages, held, *recall = self._cache.get(
            f"measured-{name}", depends, make
        )
        return Measured(
            em, f1, dict(zip(CUTS, recall, strict=True)), precision, found, passages, held
        )

    @property
    def settings(self) -> ReaderSettings:
        """The readers'."""
        return self.plans.together.reader

    def _run(self, what: str, seed: int) -> Path:
        parts = (
            self.backbone.identity.sha256,
            self.plans,
            digest(self.bed.together),
            digest(self.bed.taught),
            [example.id for example in self.bed.read],
        )
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
        return self._folder / key / f"{what}-{seed}"

    def _training(self, what: str, progress: Progress) -> None:
        self._show(what, progress.step, progress.steps)


def _digest(adapter: LoraAdapter, head: Mapping[str, Tensor] | None = None) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted({**adapter.tensors(), **(head or {})}.items()):
        found.update(name.encode())
        found.update(tensor.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()[:20]
