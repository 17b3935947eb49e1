"""The context encoder trained too: what the paper's experts gain where documents are encoded anew.

An expert for queries alone leaves one index for all of them. The paper compares it with an adapter
that is trained through both sides, and with which the whole collection has to be encoded again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.vectors import kept_vectors
from pointsman.collection.judged import Documents, Judged
from pointsman.data.arrays import ArrayCache
from pointsman.errors import SpecialistError
from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Show
from pointsman.experiments.routing.bed import RoutingSet
from pointsman.experiments.routing.experts import BedExpert, keep_expert, kept_expert
from pointsman.experiments.routing.trained_bed import Bed
from pointsman.route.loss import contrastive_loss
from pointsman.route.recipe import Data, Recipe, identity, measured
from pointsman.route.task import Encode, ExpertTask
from pointsman.route.union import UnionTask
from pointsman.route.utility import MEASURE
from pointsman.training.loop import train

SETS = ("scifact", "covidqa", "cosqa")
"""Sets whose documents are few enough to be encoded again at every look at dev."""

# How often dev is looked at: each look encodes the whole collection.
LOOKS = 3

Side = Literal["queries", "both"]
SIDES: tuple[Side, Side] = ("queries", "both")

_ADAPTER = "context:training"


class ContextTask(ExpertTask):
    """Trains an adapter through queries and documents alike, on in-batch negatives (protocol `Task`).

    `texts` are the documents' contents in their order. A step encodes the batch's positives with the
    adapter as it stands, and gradients flow through both sides; `evaluate` encodes all documents.
    Settings are ExpertTask's.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: LoraAdapter,
        judged: Sequence[Judged],
        documents: Documents,
        texts: Sequence[str],
        dev: Sequence[Judged],
        *,
        lower_layers: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(
            backbone,
            adapter,
            judged,
            documents,
            self._on_dev,
            negatives="batch",
            lower_layers=lower_layers,
            **settings,
        )
        self._texts, self._dev = list(texts), list(dev)
        # What the layers below the adapter say of every document that can come up in a step.
        ids = backbone.token_ids([texts[row] for row in self._judged_rows], prompt="document")
        self._early = backbone.begin_ids(ids, lower_layers)

    def fingerprint(self) -> str:
        """Another one than that of the same task for queries alone."""
        return hashlib.sha256(f"both sides {super().fingerprint()}".encode()).hexdigest()

    def loss(self, batch: Sequence[int]) -> Tensor:
        """The contrastive loss of a batch of queries over its own documents, both encoded now."""
        rows = self._candidates(batch)
        assert rows is not None  # negatives are in the batch
        with self.backbone.using(self._template.with_tensors(self._parameters), self._dropout):
            queries, documents = self._queries(batch), self._contexts(rows)
        # A cosine in bf16 has three digits; divided by the temperature that is not enough.
        with torch.autocast(self.device.type, enabled=False):
            similarities = queries @ documents.T
            return contrastive_loss(similarities, self._positive(batch, rows), self._temperature)

    def _contexts(self, rows: np.ndarray) -> Tensor:
        """Vectors [m, d] of documents through whatever adapter is active."""
        places = np.searchsorted(self._judged_rows, rows).tolist()
        early = [self._early.rows[place] for place in places]
        return self.backbone.sentence_vectors_upper(early, self._early.layers)

    def _on_dev(self, encode: Encode) -> Mapping[str, float]:
        self.backbone.add_adapter(_ADAPTER, self.adapter())
        vectors = self.backbone.encode(self._texts, _ADAPTER, prompt="document")
        documents = Documents(self._documents.ids, vectors)
        return measured(documents, self._dev, encode)


def context(
    bed: Bed, recipe: Recipe, folder: Path, show: Show, *, names: Sequence[str] = SETS
) -> Table:
    """The whole study on the sets `names`; `folder` keeps the adapters."""
    columns: list[Column | str] = ["set"]
    columns += [
        Column(name, scale=100)
        for name in ("base", "query side only", "both sides", "both, frozen documents")
    ]
    columns += [Column("both sides − query side only", decimals=2, scale=100), "p"]
    cells: list[list[Cell]] = []
    for name in names:
        each, view = bed.sets[name], bed.test[name]
        alone, both = (trained(each, side, bed.backbone, recipe, folder, show) for side in SIDES)
        anew = reencoded(each, both, bed.backbone, bed.cache, show)
        by_query = view.score(bed.views.alone(each, "test", alone))
        of_both = bed.views.alone(each, "test", both)
        by_both = view.over(anew, view.judged).score(of_both)
        cells.append(
            [
                name,
                float(view.utilities[:, 0].mean()),
                float(by_query.mean()),
                float(by_both.mean()),
                float(view.score(of_both).mean()),
                bootstrap_interval(by_both - by_query),
                f"{paired_randomisation(by_both, by_query).p_value:.4f}",
            ]
        )
    notes = [
        "Both adapters: in-batch negatives, the same recipe, steps and seed, and the best of "
        f"{LOOKS} looks at dev. Both sides: the adapter learned through queries and documents, and "
        "every document is encoded by it. Both, frozen documents: its queries over the base's "
        "documents.",
        "Interval: 95 % bootstrap. p: paired randomisation, two-sided.",
    ]
    return Table(f"The context encoder trained too: {MEASURE} × 100", columns, cells, notes)


def trained(
    each: RoutingSet,
    side: Side,
    backbone: Backbone,
    recipe: Recipe,
    folder: Path,
    show: Show,
) -> BedExpert:
    """A set's adapter through queries alone or through both sides, from `folder` or trained.

    A training that was interrupted goes on from its last checkpoint. Raises as `Data.check` does.
    """
    data = Data(each.documents, list(each.parts["train"]), list(each.parts["dev"]))
    recipe = recipe.on(backbone)
    steps = _steps(recipe, len(data.train))
    # Epochs as long as it is from look to look.
    plan = replace(recipe.plan, epochs=LOOKS, evaluations=1)
    recipe = replace(recipe, negatives=("batch",), plan=plan)
    digest = identity(data, recipe, backbone)
    place = folder / f"{each.name}-context-{side}-{steps}-{digest}"
    try:
        return kept_expert(each.name, place)
    except SpecialistError:  # not there yet, or not whole
        data.check()
    task = _task(data, _texts(each), side, backbone, recipe)
    outcome = train(
        UnionTask([task], steps // LOOKS),
        plan,
        place.with_name(place.name + ".run"),
        lambda progress: show(f"{each.name}: training {side}", progress.step, progress.steps),
    )
    return keep_expert(
        each.name,
        task.adapter(outcome.parameters),
        data.train,
        backbone,
        place,
        training={
            "recipe": asdict(recipe),
            "negatives": "batch",
            "side": side,
            "steps": outcome.steps,
        },
        dev={"measure": MEASURE, "best": outcome.best},
    )


def reencoded(
    each: RoutingSet,
    expert: BedExpert,
    backbone: Backbone,
    cache: ArrayCache,
    show: Show,
) -> Documents:
    """The set's documents as the expert's adapter encodes them, from the cache where they are there."""
    backbone.add_adapter(_ADAPTER, expert.adapter)
    vectors = kept_vectors(
        cache,
        backbone,
        f"documents-{each.name}",
        _texts(each),
        adapter=_ADAPTER,
        adapter_digest=expert.digest,
        prompt="document",
        progress=partial(show, f"{each.name}: encoding by the adapter"),
    )
    return Documents(each.documents.ids, vectors)


def _texts(each: RoutingSet) -> list[str]:
    return [passage.content for passage in each.passages]


def _steps(recipe: Recipe, queries: int) -> int:
    """As many steps as the recipe takes of so many queries, up to a multiple of LOOKS."""
    an_epoch = max(1, round(queries / recipe.batch_size))
    return math.ceil(recipe.plan_for(queries).epochs * an_epoch / LOOKS) * LOOKS


def _task(
    data: Data, texts: Sequence[str], side: Side, backbone: Backbone, recipe: Recipe
) -> ExpertTask:
    """Both sides' tasks get one and the same settings, and adapters that begin alike."""
    adapter = recipe.fresh_adapter(backbone)
    settings: dict[str, Any] = {
        "batch_size": recipe.batch_size,
        "temperature": recipe.temperature,
        "dropout": recipe.dropout,
        "seed": recipe.plan.seed,
        "lower_layers": recipe.lower_layers(backbone),
    }
    if side == "both":
        return ContextTask(
            backbone, adapter, data.train, data.documents, texts, data.dev, **settings
        )
    return ExpertTask(
        backbone,
        adapter,
        data.train,
        data.documents,
        partial(measured, data.documents, data.dev),
        negatives="batch",
        **settings,
    )
