"""Studies that train nothing: experts added one by one (the paper's Table 3, Figures 4 and 5), and
what is left of an expert's gain on documents that nobody asked for in training.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from pointsman.collection.judged import Judged
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Show
from pointsman.experiments.routing.rows import (
    Known,
    dataset_oracle,
    only,
    ours,
    paper_router,
    places,
)
from pointsman.experiments.routing.views import View
from pointsman.route.mixture import MixtureRouter, MixtureSettings


def orders(experts: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """So many orders in which experts may come, drawn with `seed`."""
    rng = random.Random(seed)
    return [rng.sample(list(experts), len(experts)) for _ in range(count)]


def added_one_by_one(
    known: Known,
    test: Mapping[str, View],
    seen: Sequence[str],
    unseen: Sequence[str],
    settings: MixtureSettings,
    came: Sequence[Sequence[str]],
    show: Show,
) -> Table:
    """Macro nDCG@10 with 1, 2, … experts: means over the orders in which they came, and extremes.

    "Seen" are all sets that have an expert in the end, those included whose expert has not come yet.
    """
    found: dict[tuple[int, str, str], list[float]] = {}
    for i, order in enumerate(came):
        for count in range(1, len(order) + 1):
            show("adding experts", i * len(order) + count, len(came) * len(order))
            there = only(known, order[:count])
            columns = places(known, order[:count])
            views = {name: view.only(columns) for name, view in test.items()}
            router = MixtureRouter(dict(there.domains), settings)
            rows = {
                "pilots, mean, k = 1": paper_router(there).scores,
                "familiarity mixture": ours(router, 0.0)[0].scores,
                "DatasetOracle": dataset_oracle().scores,
            }
            for row, scores in rows.items():
                means = {name: float(scores(view).mean()) for name, view in views.items()}
                for part, sets in (("seen", seen), ("unseen", unseen)):
                    if sets:
                        mean = float(np.mean([means[name] for name in sets]))
                        found.setdefault((count, row, part), []).append(mean)
    cells: list[list[Cell]] = [
        [count, row, part, float(np.mean(values)), min(values), max(values)]
        for (count, row, part), values in found.items()
    ]
    columns_shown: list[Column | str] = ["experts", "row", "sets"]
    columns_shown += [Column(name, scale=100) for name in ("mean", "lowest", "highest")]
    notes = [
        "The orders: " + "; ".join(", ".join(order) for order in came) + ".",
        "Pilots depend on the order even when all are there: of experts that serve a training query "
        "equally well it counts for the first.",
    ]
    return Table("Experts added one by one", columns_shown, cells, notes)


def asked_before(
    test: Mapping[str, View], train: Mapping[str, Sequence[Judged]], known: Known
) -> Table:
    """Own experts on test queries that want a document which training asked for, and on the others.

    An expert may learn which documents are ever asked for; on the others this is no help.
    """
    columns: list[Column | str] = ["set"]
    for part in ("asked for in training", "not"):
        columns += [f"queries: {part}"]
        columns += [Column(f"{row}: {part}", scale=100) for row in ("base", "own expert")]
    cells: list[list[Cell]] = []
    for name, judged in train.items():
        asked = {id for query in judged for id in query.relevant}
        view = test[name]
        before = np.array([any(id in asked for id in query.relevant) for query in view.judged])
        own = known.names.index(name)
        line: list[Cell] = [name]
        for these in (before, ~before):
            line.append(int(these.sum()))
            line += [
                float(view.utilities[these, expert].mean()) if these.any() else None
                for expert in (0, own)
            ]
        cells.append(line)
    return Table("Documents that training asked for, and others", columns, cells)
