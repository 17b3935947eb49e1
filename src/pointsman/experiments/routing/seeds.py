"""How much of the instance oracle's lead is luck: the same experts trained twice, by two seeds.

The oracle takes the best of many noisy scores of each query, and so profits from their noise (the
winner's curse). Choosing by the experts of one seed and scoring by those of the other leaves of its
lead what comes back when training is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError
from pointsman.evaluate.significance import macro_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Show
from pointsman.experiments.routing.bed import RoutingSet
from pointsman.experiments.routing.experts import BedExpert, trained_expert
from pointsman.experiments.routing.rows import dataset_oracle
from pointsman.experiments.routing.trained_bed import Bed
from pointsman.experiments.routing.views import View, Views
from pointsman.route.pilots import best_experts
from pointsman.route.recipe import Recipe
from pointsman.route.utility import MEASURE

_Scores = npt.NDArray[np.float64]

# Gains that spread by less are all the same: nothing can correlate with them.
_CONSTANT = 1e-9


def second_seed(
    bed: Bed, recipe: Recipe, folder: Path, show: Show, seed: int
) -> dict[str, BedExpert]:
    """Every set's whole expert by the recipe with another seed, from `folder` or trained anew.

    Negatives are those that dev chose with the first seed: what differs is the seed alone. Raises
    ConfigError where the seed is the recipe's own.
    """
    if seed == recipe.plan.seed:
        raise ConfigError(f"the second seed has to be another one than {seed}")
    recipe = replace(recipe, plan=replace(recipe.plan, seed=seed))
    found = {}
    for name, first in bed.trained.items():
        each = bed.sets[name]
        same = replace(recipe, negatives=(first.whole.negatives,))
        found[name] = trained_expert(
            each, each.parts["train"], None, bed.backbone, same, folder, show
        )
    return found


def under(
    experts: Mapping[str, BedExpert], each: RoutingSet, part: str, view: View, views: Views
) -> View:
    """The view's queries, which are this part's, under other experts; they come in their order."""
    columns = [views.alone(each, part, expert) for expert in experts.values()]
    return replace(view, vectors=np.stack([view.base, *columns], axis=1))


def seeds(bed: Bed, recipe: Recipe, folder: Path, show: Show, *, seed: int) -> Table:
    """The whole study: the bed's experts are those of the recipe's own seed, `seed` is the second.

    Raises as `second_seed` does.
    """
    experts = second_seed(bed, recipe, folder, show, seed)
    other = {
        name: under(experts, bed.sets[name], "test", view, bed.views)
        for name, view in bed.test.items()
    }
    return seeds_table(bed.test, other, bed.views.experts, bed.seen, bed.unseen)


def correlation(a: _Scores, b: _Scores) -> float:
    """Pearson's r of two arrays of the same shape; NaN where one of them is constant."""
    if a.std() < _CONSTANT or b.std() < _CONSTANT:
        return float("nan")
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def chosen_by(chooser: _Scores, judge: _Scores) -> _Scores:
    """The scores [n] by `judge` [n, e] of the experts that are best by `chooser` [n, e]."""
    return np.asarray(judge[np.arange(len(judge)), best_experts(chooser)])


def seeds_table(
    first: Mapping[str, View],
    second: Mapping[str, View],
    experts: Sequence[str],
    seen: Sequence[str],
    unseen: Sequence[str],
) -> Table:
    """Each set, and macro means: how gains correlate, and what the oracle keeps by the other seed."""
    compared = {name: _compare(first[name], second[name], experts) for name in (*seen, *unseen)}
    columns: list[Column | str] = [
        "set",
        Column("own gains: r", decimals=2),
        Column("all gains: r", decimals=2),
        *(
            Column(name, scale=100)
            for name in ("base", "DatasetOracle", "InstanceOracle", "oracle by the other seed")
        ),
        Column("its lead over DatasetOracle", decimals=2, scale=100),
        Column("of InstanceOracle's lead, %", decimals=0, scale=100),
    ]
    cells = [_line(name, [each]) for name, each in compared.items()]
    for part, sets in (("seen", seen), ("unseen", unseen)):
        if sets:
            cells.append(_line(f"all {part}", [compared[name] for name in sets]))
    notes = [
        "r: Pearson's correlation between the two seeds of each query's gain over the base, of the "
        "set's own expert and of all experts; means over sets in the last rows.",
        "base, DatasetOracle and InstanceOracle: the first seed's. Oracle by the other seed: each "
        "query goes to the expert, or the base, that is best under one seed, and is scored under "
        "the other; the mean of both ways.",
        "The leads are over the DatasetOracle of the seed that scores, again the mean of both ways, "
        "with 95 % bootstrap intervals, queries resampled within sets.",
    ]
    return Table(f"Two seeds: {MEASURE} × 100", columns, cells, notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """One set under two seeds: two correlations, and scores [n] of its queries by column.

    `kept` and `lead` are what the oracle has over the DatasetOracle, by the other seed and by the
    same one, each the mean of both ways.
    """

    own: float
    all: float
    columns: tuple[_Scores, ...]
    kept: _Scores
    lead: _Scores


def _compare(first: View, second: View, experts: Sequence[str]) -> _Compared:
    a, b = first.utilities, second.utilities
    gains_a, gains_b = a[:, 1:] - a[:, :1], b[:, 1:] - b[:, :1]
    own = float("nan")
    if first.set in experts:
        column = experts.index(first.set)
        own = correlation(gains_a[:, column], gains_b[:, column])
    by_other = (chosen_by(b, a) + chosen_by(a, b)) / 2
    instance = (a.max(axis=1) + b.max(axis=1)) / 2
    best = dataset_oracle().scores
    dataset = (best(first) + best(second)) / 2
    return _Compared(
        own,
        correlation(gains_a, gains_b),
        (a[:, 0], best(first), a.max(axis=1), by_other),
        by_other - dataset,
        instance - dataset,
    )


def _line(name: str, sets: Sequence[_Compared]) -> list[Cell]:
    """One row: a set, or the macro means of several."""
    kept = macro_interval([each.kept for each in sets])
    lead = float(np.mean([each.lead.mean() for each in sets]))
    return [
        name,
        _mean([each.own for each in sets]),
        _mean([each.all for each in sets]),
        *(
            float(np.mean([column.mean() for column in columns]))
            for columns in zip(*(each.columns for each in sets), strict=True)
        ),
        kept,
        kept.mean / lead if lead > _CONSTANT else None,
    ]


def _mean(values: Sequence[float]) -> float | None:
    """The mean of those that there are."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
