"""Experts for collections that nobody has asked about: trained on titles and first sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.data.draw import drawn
from pointsman.data.splits import without
from pointsman.evaluate.significance import (
    bootstrap_interval,
    macro_interval,
    paired_randomisation,
)
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.evaluate.together import macro_p_values
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
    changes: dict[str, list[npt.NDArray[np.float64]]] = {"dense": [], "hybrid": []}
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
        for search, scores in (
            ("dense", view.score),
            ("hybrid", partial(keywords.hybrid, view.documents, view.judged)),
        ):
            before, after = scores(view.base), scores(queries)
            changes[search].append(after - before)
            line += [float(before.mean()), float(after.mean())]
            line += [
                bootstrap_interval(after - before),
                f"{paired_randomisation(after, before).p_value:.4f}",
            ]
        cells.append(line)
    if names:
        cells.append(_mean(cells, changes))
    notes = [
        "Titles and first sentences stand for queries; what people ask is only tested on. Intervals: "
        "95 % bootstrap. p: paired randomisation, two-sided."
    ]
    return Table(f"Experts from documents alone: {MEASURE} × 100", columns, cells, notes)


def _mean(
    cells: Sequence[Sequence[Cell]], changes: Mapping[str, Sequence[npt.NDArray[np.float64]]]
) -> list[Cell]:
    """The macro means, with intervals that resample queries within sets."""
    line: list[Cell] = ["mean", None]
    for i, each in enumerate(changes.values()):
        columns = [[float(row[2 + 4 * i + j]) for row in cells] for j in (0, 1)]  # type: ignore[arg-type]
        line += [float(np.mean(column)) for column in columns]
        p_value = macro_p_values([change[:, None] for change in each])[0]
        line += [macro_interval(each), f"{p_value:.4f}"]
    return line
