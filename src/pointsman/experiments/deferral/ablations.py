"""What an allocation depends on: the rejector's size, what it knows, where it learned, and agents that change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pointsman.defer.network import Fit
from pointsman.defer.surrogate import deferral
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.bed import Bed
from pointsman.experiments.deferral.measured import outcome, utility
from pointsman.experiments.deferral.reading import Reading, read_by
from pointsman.experiments.deferral.rows import (
    BEST,
    EVERYONE,
    OURS,
    REJECTOR,
    SURROGATE,
    Fold,
    Given,
    Learned,
    all_folds,
    by_fold,
    decided,
    looking,
    rejector,
    rows,
)

HIDDEN = (0, 16, 64, 256, 1024)
MUDDLED = (0.0, 0.25, 0.5, 1.0)
PRICE = 0.05

LOSS = partial(deferral, u=1.0, kind="shifted")

Way = Callable[[Fold], Given]


def rejectors(bed: Bed, folds: Sequence[Fold], reading: Reading | None = None) -> Table:
    """How large the paper's rejector should be, and whether it should read."""
    cells: list[list[Cell]] = []
    for hidden in HIDDEN:
        plan = replace(REJECTOR, hidden=hidden)

        def learned(fold: Fold, plan: Fit = plan) -> Given:
            found = rejector(fold, PRICE, LOSS, plan).allocate(fold.known[1])
            return fold.one(found)

        cells.append(
            [f"{hidden} hidden units" if hidden else "linear", *_line(bed, folds, learned)]
        )
    for reads in () if reading is None else reading.reads:
        read = partial(reading.allocate, reads=reads, price=PRICE)  # type: ignore[union-attr]
        cells.append([read_by(reads), *_line(bed, folds, read)])
    counted = (
        "what these take of the question is counted, and what those with an adapter take to read both."
        if bed.counted
        else "what a rejector itself takes has no place among published costs and is not counted."
    )
    note = (
        f"The loss of u = 1, shifted, at price {PRICE:g}. All but those with an adapter see the base's "
        f"vectors of question and passage; {counted}"
    )
    return Table(f"{bed.name}: the rejector's size", ["rejector", *_COLUMNS], cells, [note])


def muddled(bed: Bed, folds: Sequence[Fold]) -> Table:
    """A rejector that sees, of a share of the questions, what is known of another one."""
    columns: list[Column | str] = [Column("muddled", scale=100, decimals=0), "row", *_COLUMNS]
    cells: list[list[Cell]] = []
    learned = {fold.number: rejector(fold, PRICE, LOSS) for fold in folds}
    for share in MUDDLED:

        def seen(fold: Fold, share: float = share) -> np.ndarray:
            test = fold.known[1].copy()
            generator = np.random.default_rng([fold.seed, fold.number])
            rows = np.flatnonzero(generator.random(len(test)) < share)
            test[rows] = test[generator.permutation(rows)]
            return test

        def surrogate(fold: Fold, seen: Callable[[Fold], np.ndarray] = seen) -> Given:
            return fold.one(learned[fold.number].allocate(seen(fold)))

        def ours(fold: Fold, seen: Callable[[Fold], np.ndarray] = seen) -> Given:
            return looking(fold, PRICE, seen(fold))

        cells.append([share, SURROGATE, *_line(bed, folds, surrogate)])
        cells.append([share, OURS, *_line(bed, folds, ours)])
    note = f"At price {PRICE:g}. Of so many questions what is known before is another question's."
    return Table(f"{bed.name}: a degraded rejector", columns, cells, [note])


def looked(bed: Bed, prices: Sequence[float], seed: int) -> Table:
    """What it is worth that a reader of ours looks at the passage for each answer."""
    blind = replace(bed, said=replace(bed.said, looked=np.zeros_like(bed.said.looked)))
    columns: list[Column | str] = [
        Column("price", decimals=2),
        "row",
        Column("EM", scale=100, decimals=2),
        Column("cost", scale=100),
        Column(f"{bed.agents[-1]} asked", scale=100),
        Column("EM against best single", scale=100, decimals=2),
        Column("EM against not looking", scale=100, decimals=2),
        Column("utility against not looking", scale=100, decimals=2),
    ]
    cells: list[list[Cell]] = []
    every = {row.name: row for row in rows(bed)}
    clusters = bed.clusters.tolist()
    folds = {what: all_folds(each, seed) for what, each in (("", blind), (", looked", bed))}
    for price in prices:
        single = outcome(bed, decided(bed, every[BEST], price, folds[""]))[0]
        for name in (OURS, EVERYONE):
            found = {what: decided(bed, every[name], price, each) for what, each in folds.items()}
            for what, given in found.items():
                em, _, cost = outcome(bed, given)
                line: list[Cell] = [price, f"{name}{what}", float(em.mean()), float(cost.mean())]
                line += [
                    float(given.asked[:, -1].mean()),
                    bootstrap_interval(em - single, clusters),
                ]
                if what:
                    before = found[""]
                    gained = utility(bed, given, price) - utility(bed, before, price)
                    line.append(bootstrap_interval(em - outcome(bed, before)[0], clusters))
                    line.append(bootstrap_interval(gained, clusters))
                else:
                    line += [None, None]
                cells.append(line)
    note = (
        f"{len(bed):,} questions of articles that the reader did not learn from (half of them chose when "
        "to stop its training), five-fold; intervals over "
        f"{len(set(clusters)):,} articles. What looking takes is not counted: a reader of 23 million parameters "
        "once a question."
    )
    return Table(f"{bed.name}: what a look is worth", columns, cells, [note])


def elsewhere(learned: Learned, test: Bed, names: Sequence[str]) -> Table:
    """Each data set by what was learned on it too, and by what was learned on the others alone."""
    columns: list[Column | str] = ["tested on", "row", "learned on", *_COLUMNS]
    cells: list[list[Cell]] = []
    every = {row.name: row for row in rows(test)}
    record = learned.train
    for number in np.unique(test.sets):
        asked = test.take(np.flatnonzero(test.sets == number))
        others = Learned(record.take(np.flatnonzero(record.sets != number)), 0, learned.seed)
        for what, known in (("all sets", learned), ("the others", others)):
            folds = [Fold.whole(known, asked)]
            for name in (BEST, SURROGATE, OURS):
                found = decided(asked, every[name], PRICE, folds)
                cells.append([names[number], name, what, *_cells(asked, found)])
    note = f"At price {PRICE:g}."
    return Table(f"{test.name}: another domain", columns, cells, [note])


def went_on(earlier: Learned, learned: Learned, test: Bed) -> Table:
    """Agents that learned on after what allocates among them was fitted."""
    against = Column("utility against fitted anew", scale=100, decimals=2)
    columns: list[Column | str] = ["row", "fitted to", *_COLUMNS, against]
    cells: list[list[Cell]] = []
    every = {row.name: row for row in rows(test)}
    for name in (BEST, "logistic", SURROGATE, OURS):
        found = {
            what: decided(test, every[name], PRICE, [Fold.whole(known, test)])
            for what, known in (
                ("the agents as they are", learned),
                ("when they had learned half", earlier),
            )
        }
        anew, stale = found.values()
        lost = bootstrap_interval(
            utility(test, stale, PRICE) - utility(test, anew, PRICE),
            test.clusters.tolist(),
        )
        for what, given in found.items():
            cells.append([name, what, *_cells(test, given), lost if given is stale else None])
    note = f"At price {PRICE:g}; all are tested as they are now."
    return Table(f"{test.name}: agents that learned on", columns, cells, [note])


_COLUMNS: list[Column | str] = [
    Column("EM", scale=100, decimals=2),
    Column("cost", scale=100),
    Column("utility", scale=100, decimals=2),
]


def _line(bed: Bed, folds: Sequence[Fold], way: Way) -> list[Cell]:
    return _cells(bed, by_fold(bed, folds, way))


def _cells(bed: Bed, given: Given) -> list[Cell]:
    em, _, cost = outcome(bed, given)
    return [float(em.mean()), float(cost.mean()), float(utility(bed, given, PRICE).mean())]
