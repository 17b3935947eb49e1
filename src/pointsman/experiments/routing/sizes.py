"""The paper's study of training-set size: what an expert gains in and out of its domain (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointsman.collection.judged import Judged
from pointsman.data.draw import drawn
from pointsman.evaluate.significance import Interval, macro_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Show
from pointsman.experiments.routing.experts import trained_expert
from pointsman.experiments.routing.tables import Scores
from pointsman.experiments.routing.trained_bed import Bed
from pointsman.route.recipe import Recipe
from pointsman.route.utility import MEASURE

SETS = ("amazon", "newwiki", "homedepot")
"""The sets with thousands of training queries."""
SIZES = (100, 300, 1_000, 3_000)

OWN, SEEN, UNSEEN = "own test", "other seen sets", "unseen sets"
PARTS = (OWN, SEEN, UNSEEN)


@dataclass(frozen=True, slots=True)
class Sized:
    """The expert of `set` that learned from so many `queries`; 0 of them is the base.

    `means` are macro nDCG@10 and `gains` its differences from the base, by PARTS; a part that holds
    no set is missing.
    """

    set: str
    queries: int
    means: Mapping[str, float]
    gains: Mapping[str, Interval]


def nested(queries: Sequence[Judged], sizes: Sequence[int], seed: int) -> list[list[Judged]]:
    """Random subsets of these sizes, each within the next, and last all queries, in their own order.

    A size that is not below the number of queries is left out.
    """
    counts = [*sorted({size for size in sizes if size < len(queries)}), len(queries)]
    return [[queries[i] for i in drawn(len(queries), count, seed)] for count in counts]


def training_sizes(
    bed: Bed,
    recipe: Recipe,
    folder: Path,
    show: Show,
    *,
    names: Sequence[str] = SETS,
    sizes: Sequence[int] = SIZES,
) -> list[Sized]:
    """Experts of the sets `names` by growing training sets, the base before them, on all test parts.

    `folder` keeps the experts. Where it and the recipe are the bed's own, the experts of all queries
    are there already.
    """
    base = {name: view.utilities[:, 0] for name, view in bed.test.items()}
    found = []
    for name in names:
        found.append(sized(name, 0, base, base, bed.seen, bed.unseen))
        for train in nested(bed.sets[name].parts["train"], sizes, recipe.plan.seed):
            expert = trained_expert(
                bed.sets[name],
                train,
                None,
                bed.backbone,
                recipe.fitting(len(train)),
                folder,
                _counting(show, len(train)),
            )
            scores = {
                other: view.score(bed.views.alone(bed.sets[other], "test", expert))
                for other, view in bed.test.items()
            }
            found.append(sized(name, len(train), scores, base, bed.seen, bed.unseen))
    return found


def sized(
    name: str,
    queries: int,
    scores: Scores,
    base: Scores,
    seen: Sequence[str],
    unseen: Sequence[str],
) -> Sized:
    """Macro means, and differences from the base, on the own set, the other seen and the unseen."""
    parts = {OWN: [name], SEEN: [other for other in seen if other != name], UNSEEN: list(unseen)}
    there = {part: others for part, others in parts.items() if others}
    return Sized(
        name,
        queries,
        {
            part: float(np.mean([scores[other].mean() for other in others]))
            for part, others in there.items()
        },
        {
            part: macro_interval([scores[other] - base[other] for other in others])
            for part, others in there.items()
        },
    )


def sizes_table(found: Sequence[Sized]) -> Table:
    """Every set and size: macro nDCG@10 of each part, and its difference from the base."""
    columns: list[Column | str] = ["expert of", "training queries"]
    columns += [Column(part, scale=100) for part in PARTS]
    columns += [Column(f"{part}: difference", decimals=2, scale=100) for part in PARTS]
    cells: list[list[Cell]] = []
    for each in found:
        line: list[Cell] = [each.set, each.queries]
        line += [each.means.get(part) for part in PARTS]
        line += [each.gains.get(part) if each.queries else None for part in PARTS]
        cells.append(line)
    notes = [
        "0 training queries: the base. Subsets are random, each within the next larger one; the "
        "largest is the whole training part. Dev is the whole dev part at every size, and a batch "
        "is never larger than the training set.",
        "Differences from the base, with 95 % bootstrap intervals, queries resampled within sets.",
    ]
    return Table(
        f"Training-set size: {MEASURE} × 100 in and out of the domain", columns, cells, notes
    )


def size_curves(
    found: Sequence[Sized],
) -> dict[str, dict[str, dict[int, tuple[float, float, float]]]]:
    """Part -> set -> training queries -> difference from the base with its interval, for a picture."""
    curves: dict[str, dict[str, dict[int, tuple[float, float, float]]]] = {}
    for each in found:
        if each.queries:
            for part, gain in each.gains.items():
                line = curves.setdefault(part, {}).setdefault(each.set, {})
                line[each.queries] = (gain.mean, gain.low, gain.high)
    return curves


def _counting(show: Show, queries: int) -> Show:
    return lambda label, done, total: show(f"{label}, {queries} queries", done, total)
