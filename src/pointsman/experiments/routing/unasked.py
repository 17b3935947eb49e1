"""Experts for collections that nobody has asked about: trained on titles and first sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pointsman.data.draw import drawn
from pointsman.data.splits import without
from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Show
from pointsman.experiments.routing.experts import trained_expert
from pointsman.experiments.routing.trained_bed import Bed
from pointsman.route.made import made_queries
from pointsman.route.recipe import Recipe
from pointsman.route.utility import MEASURE

# So many made queries are enough to see whether they help, and a tenth of them are dev.
_QUERIES = 2_000


def unasked(bed: Bed, recipe: Recipe, folder: Path, show: Show, *, names: Sequence[str]) -> Table:
    """What an expert made from a collection's documents alone is worth for what people ask of it."""
    columns: list[Column | str] = ["set", "made queries"]
    for search in ("dense", "hybrid"):
        columns += [Column(f"{search}: {row}", scale=100) for row in ("base", "from documents")]
        columns += [Column(f"{search}: difference", decimals=2, scale=100), f"{search}: p"]
    cells: list[list[Cell]] = []
    for name in names:
        each, view = bed.sets[name], bed.test[name]
        made = made_queries(each.passages)
        some = [made[i] for i in drawn(len(made), _QUERIES, recipe.plan.seed)]
        # Titles come before sentences: both sides get both, but never the same text.
        dev = some[::10]
        train = without(some, [query.text for query in dev], lambda query: query.text)
        expert = trained_expert(
            replace(each, parts={"train": train, "dev": dev}),
            train,
            None,
            bed.backbone,
            recipe.fitting(len(train)),
            folder,
            lambda label, done, total: show(f"{label}, made queries", done, total),
        )
        queries, keywords = bed.views.alone(each, "test", expert), bed.words(view)
        line: list[Cell] = [name, len(train)]
        for before, after in (
            (view.utilities[:, 0], view.score(queries)),
            tuple(
                keywords.hybrid(view.documents, view.judged, each) for each in (view.base, queries)
            ),
        ):
            line += [
                float(before.mean()),
                float(after.mean()),
                bootstrap_interval(after - before),
                f"{paired_randomisation(after, before).p_value:.4f}",
            ]
        cells.append(line)
    notes = [
        "Titles and first sentences stand for queries; what people ask is only tested on. Intervals: "
        "95 % bootstrap. p: paired randomisation, two-sided."
    ]
    return Table(f"Experts from documents alone: {MEASURE} × 100", columns, cells, notes)
