"""From judged queries to a query expert: train, compare with the base, describe, save."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter
from pointsman.collection.judged import Documents, Judged
from pointsman.data.draw import drawn
from pointsman.data.splits import refuse_overlap
from pointsman.errors import InputError
from pointsman.route.task import Encode, Evaluate, ExpertTask, Negatives
from pointsman.route.union import UnionTask
from pointsman.route.utility import MEASURE, utilities
from pointsman.training.loop import Outcome, Plan, Progress, train

Show = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an expert is trained.

    Each kind of `negatives` is tried, and dev decides. `targets` are the linear layers adapted, by
    their own names (all where there is none), of the upper half of the transformer's layers where
    `upper` is set. `hard` documents a query are mined for "mined". `dev_queries` bounds how many
    dev queries early stopping looks at. `steps` is how long training is: as many epochs as come
    nearest to it, one at least; 0 leaves the plan's number of epochs.
    """

    name: str
    negatives: tuple[Negatives, ...]
    rank: int = 8
    alpha: float = 32.0
    targets: tuple[str, ...] = ("query", "value")
    upper: bool = False
    batch_size: int = 64
    temperature: float = 0.05
    dropout: float = 0.1
    hard: int = 10
    dev_queries: int = 600
    steps: int = 0
    plan: Plan = field(default_factory=lambda: Plan(measure=MEASURE))

    def on(self, backbone: Backbone) -> Recipe:
        """The recipe for this base: one in bf16 is trained in mixed precision, the adapter's own
        weights staying in fp32.
        """
        return replace(self, plan=replace(self.plan, bf16=backbone.dtype == torch.bfloat16))

    def fitting(self, queries: int) -> Recipe:
        """The recipe with batches that so many queries can fill."""
        return replace(self, batch_size=min(self.batch_size, queries))

    def lower_layers(self, backbone: Backbone) -> int:
        """How many of the lower layers no adapter of this recipe changes."""
        return backbone.routing_layers if self.upper else 0

    def fresh_adapter(self, backbone: Backbone) -> LoraAdapter:
        """An adapter that changes nothing yet, as training begins with it."""
        return new_adapter(
            backbone.model,
            self.rank,
            self.alpha,
            torch.Generator().manual_seed(self.plan.seed),
            self.targets or None,
            self.lower_layers(backbone),
        )

    def plan_for(self, queries: int) -> Plan:
        """The plan for so many training queries."""
        if not self.steps:
            return self.plan
        an_epoch = max(1, round(queries / self.batch_size))
        epochs = max(1, round(self.steps / an_epoch))
        # A dozen looks at dev, however long an epoch is.
        return replace(self.plan, epochs=epochs, evaluations=max(1, math.ceil(12 / epochs)))


PAPER = Recipe(
    name="paper",
    negatives=("batch",),
    batch_size=256,
    plan=Plan(
        measure=MEASURE,
        epochs=30,
        learning_rate=1e-4,
        weight_decay=0.0,
        warmup=0.0,
        evaluations=1,
        patience=5,
    ),
)
"""RouterRetriever's own (arXiv 2409.02685, section 4, and its published configuration)."""

OURS = Recipe(
    name="ours",
    negatives=("judged", "all"),
    targets=(),
    upper=True,
    steps=200,
    plan=Plan(
        measure=MEASURE, learning_rate=1e-3, weight_decay=0.0, warmup=0.1, evaluations=1, patience=5
    ),
)
"""More negatives at no cost, since the documents' vectors are there; a larger, warmed-up rate; the
lower layers left to the base, so that a router can look at their states before it chooses."""

RECIPES = {recipe.name: recipe for recipe in (OURS, PAPER)}


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """What an expert is trained on and chosen by; all judgements are of `documents`."""

    documents: Documents
    train: Sequence[Judged]
    dev: Sequence[Judged]

    def check(self, batch: int = 2) -> None:
        """Raise what `check_queries` does."""
        check_queries(self.train, self.dev, batch)


def check_queries(train: Sequence[Judged], dev: Sequence[Judged], batch: int = 2) -> None:
    """Raise InputError where there are too few training queries, no dev, or dev stands in train."""
    if len(train) < batch:
        raise InputError(
            f"{len(train)} training queries are fewer than a batch of {batch}; "
            "an expert needs more of them"
        )
    if not dev:
        raise InputError("there are no dev queries to choose the expert by")
    refuse_overlap([query.text for query in train], [query.text for query in dev], "train")


def identity(data: Data, recipe: Recipe, backbone: Backbone) -> str:
    """Twelve hex digits that change with the data, the recipe and the base, and with nothing else."""
    digest = hashlib.sha256(data.documents.digest().encode())
    parts = [
        backbone.identity.sha256,
        sorted(asdict(recipe).items()),
        [(query.text, sorted(query.relevant.items())) for query in (*data.train, *data.dev)],
    ]
    digest.update(repr(parts).encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class TrainedExpert:
    """An expert as it came out. `base` and `best` are nDCG@10 on dev; `helps` says which is higher."""

    adapter: LoraAdapter
    negatives: Negatives
    base: float
    best: float
    outcomes: Mapping[Negatives, Outcome]

    @property
    def helps(self) -> bool:
        """Whether it beats the base on dev; one that does not should not be used."""
        return self.best > self.base


def train_expert(
    backbone: Backbone,
    data: Data,
    recipe: Recipe,
    run_folder: Path,
    show: Callable[[Negatives, Progress], None] | None = None,
) -> TrainedExpert:
    """Train by every kind of negatives of the recipe, and keep what is best on dev.

    Checkpoints lie in `run_folder`, a folder for each kind. Raises what `Data.check` does.
    """
    data.check(recipe.batch_size)
    recipe = recipe.on(backbone)
    measure = _measure(data, recipe)
    base = measure(lambda texts: backbone.encode(texts, prompt="query"))[MEASURE]
    found: dict[Negatives, tuple[ExpertTask, Outcome]] = {}
    for kind in recipe.negatives:
        task = _task(backbone, data, recipe, kind, measure)
        plan = recipe.plan_for(len(data.train))
        shown = None if show is None else _shower(show, kind)
        found[kind] = (task, train(task, plan, run_folder / kind, shown))
    kind = max(found, key=lambda kind: found[kind][1].best)
    task, outcome = found[kind]
    return TrainedExpert(
        task.adapter(outcome.parameters),
        kind,
        base,
        outcome.best,
        {kind: each for kind, (_, each) in found.items()},
    )


def _shower(show: Callable[[Negatives, Progress], None], kind: Negatives) -> Show:
    return lambda progress: show(kind, progress)


def train_union(
    backbone: Backbone,
    sets: Sequence[Data],
    recipe: Recipe,
    steps: int,
    run_folder: Path,
    show: Show | None = None,
) -> tuple[LoraAdapter, Outcome]:
    """One adapter on several collections, `steps` batches in all, as many of each collection.

    By the first kind of the recipe's negatives; early stopping watches the mean over the sets.
    """
    recipe = recipe.on(backbone)
    tasks = []
    for data in sets:
        data.check()
        tasks.append(_task(backbone, data, recipe, recipe.negatives[0], _measure(data, recipe)))
    epochs = 12
    union = UnionTask(tasks, max(1, round(steps / (epochs * len(tasks)))))
    plan = replace(recipe.plan, epochs=epochs, evaluations=1)
    outcome = train(union, plan, run_folder, show)
    return union.adapter(outcome.parameters), outcome


def measured(documents: Documents, dev: Sequence[Judged], encode: Encode) -> Mapping[str, float]:
    """What dev says of an encoder of queries: mean nDCG@10 over these documents."""
    vectors = encode([query.text for query in dev])
    return {MEASURE: float(utilities(documents, dev, [vectors]).mean())}


def _measure(data: Data, recipe: Recipe) -> Evaluate:
    """What early stopping watches: so many of the dev queries."""
    chosen = drawn(len(data.dev), recipe.dev_queries, recipe.plan.seed)
    return partial(measured, data.documents, [data.dev[i] for i in chosen])


def _task(
    backbone: Backbone,
    data: Data,
    recipe: Recipe,
    kind: Negatives,
    measure: Evaluate,
) -> ExpertTask:
    return ExpertTask(
        backbone,
        recipe.fresh_adapter(backbone),
        data.train,
        data.documents,
        measure,
        negatives=kind,
        hard=mined(backbone, data, recipe.hard) if kind == "mined" else None,
        batch_size=recipe.batch_size,
        temperature=recipe.temperature,
        dropout=recipe.dropout,
        seed=recipe.plan.seed,
        lower_layers=recipe.lower_layers(backbone),
    )


def mined(backbone: Backbone, data: Data, count: int) -> list[list[int]]:
    """For each training query the documents that the base ranks highest and nobody judged relevant."""
    vectors = backbone.encode([query.text for query in data.train], prompt="query")
    most = max(len(query.relevant) for query in data.train)
    nearest = data.documents.nearest(vectors, count + most)
    ids = data.documents.ids
    return [
        [row for row in rows if ids[row] not in query.relevant][:count]
        for query, rows in zip(data.train, nearest.tolist(), strict=True)
    ]
