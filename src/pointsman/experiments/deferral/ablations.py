"""What an allocation depends on: the rejector's size, what it knows, where it learned, and agents that change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from pointsman.defer.network import Fit
from pointsman.defer.rejector import Rejector
from pointsman.defer.surrogate import deferral
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.bed import Bed, Floats
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
    Row,
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
PRICES = (0.01, PRICE, 0.2)

LOSS = partial(deferral, u=1.0, kind="shifted")

Way = Callable[[Fold], Given]


def rejectors(
    bed: Bed,
    folds: Sequence[Fold],
    reading: Reading | None = None,
    prices: Sequence[float] = PRICES,
) -> Table:
    """How large the paper's rejector should be; and whether it should read, at one of the prices."""
    cells: list[list[Cell]] = []
    for price in prices:
        line = _Lines(bed, folds, price)
        for hidden in HIDDEN:
            plan = replace(REJECTOR, hidden=hidden)

            def learned(fold: Fold, plan: Fit = plan, price: float = price) -> Given:
                found = rejector(fold, price, LOSS, plan).allocate(fold.known[1])
                return fold.one(found)

            name = f"{hidden} hidden units" if hidden else "linear"
            cells.append([price, name, *line.of(learned)])
        for reads in () if reading is None or price != PRICE else reading.reads:
            read = partial(reading.allocate, reads=reads, price=price)  # type: ignore[union-attr]
            cells.append([price, read_by(reads), *line.of(read)])
    counted = (
        "what these take of the question is counted, and what those with an adapter take to read both."
        if bed.counted
        else "what a rejector itself takes has no place among published costs and is not counted."
    )
    note = (
        "The loss of u = 1, shifted, trained at each price. All but those with an adapter see the base's "
        f"vectors of question and passage; {counted}"
    )
    columns = [_AT_PRICE, "rejector", *_COLUMNS]
    return Table(f"{bed.name}: the rejector's size", columns, cells, [note])


def muddled(bed: Bed, folds: Sequence[Fold], prices: Sequence[float] = PRICES) -> Table:
    """A rejector that sees, of a share of the questions, what is known of another one."""
    muddle = Column("muddled", scale=100, decimals=0)
    columns: list[Column | str] = [_AT_PRICE, muddle, "row", *_COLUMNS]
    cells: list[list[Cell]] = []
    for price in prices:
        line = _Lines(bed, folds, price)
        learned = {fold.number: rejector(fold, price, LOSS) for fold in folds}
        for share in MUDDLED:

            def seen(fold: Fold, share: float = share) -> np.ndarray:
                test = fold.known[1].copy()
                generator = np.random.default_rng([fold.seed, fold.number])
                rows = np.flatnonzero(generator.random(len(test)) < share)
                test[rows] = test[generator.permutation(rows)]
                return test

            def surrogate(
                fold: Fold,
                seen: Callable[[Fold], np.ndarray] = seen,
                learned: Mapping[int, Rejector] = learned,
            ) -> Given:
                return fold.one(learned[fold.number].allocate(seen(fold)))

            def ours(
                fold: Fold, seen: Callable[[Fold], np.ndarray] = seen, price: float = price
            ) -> Given:
                return looking(fold, price, seen(fold))

            cells.append([price, share, SURROGATE, *line.of(surrogate)])
            cells.append([price, share, OURS, *line.of(ours)])
    note = "Of so many questions what is known before is another question's."
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
            line = _Lines(asked, [Fold.whole(known, asked)], PRICE)
            for name in (BEST, SURROGATE, OURS):
                cells.append([names[number], name, what, *line.by(every[name])])
    note = f"At price {PRICE:g}."
    return Table(f"{test.name}: another domain", columns, cells, [note])


def went_on(
    earlier: Learned, learned: Learned, test: Bed, prices: Sequence[float] = PRICES
) -> Table:
    """Agents that learned on after what allocates among them was fitted."""
    against = Column("utility against fitted anew", scale=100, decimals=2)
    columns: list[Column | str] = [_AT_PRICE, "row", "fitted to", *_COLUMNS, against]
    cells: list[list[Cell]] = []
    every = {row.name: row for row in rows(test)}
    clusters = test.clusters.tolist()
    told = {
        "the agents as they are": [Fold.whole(learned, test)],
        "when they had learned half": [Fold.whole(earlier, test)],
    }
    for price in prices:
        lines = [_Lines(test, folds, price) for folds in told.values()]
        for name in (BEST, "logistic", SURROGATE, OURS):
            found = {what: decided(test, every[name], price, folds) for what, folds in told.items()}
            anew, stale = (utility(test, given, price) for given in found.values())
            lost: list[Cell] = [None, bootstrap_interval(stale - anew, clusters)]
            for (what, given), line, less in zip(found.items(), lines, lost, strict=True):
                cells.append([price, name, what, *line.of_given(given), less])
    note = "All are tested as they are now."
    return Table(f"{test.name}: agents that learned on", columns, cells, [note])


_AT_PRICE = Column("price", decimals=2)
_COLUMNS: list[Column | str] = [
    Column("EM", scale=100, decimals=2),
    Column("cost", scale=100),
    Column("utility", scale=100, decimals=2),
    Column("utility against best single", scale=100, decimals=2),
]


@dataclass(frozen=True)
class _Lines:
    """What came of ways to allocate, beside the agent that is the best single one by what the folds learned."""

    bed: Bed
    folds: Sequence[Fold]
    price: float

    @cached_property
    def _single(self) -> Floats:
        single = next(row for row in rows(self.bed) if row.name == BEST)
        return utility(self.bed, decided(self.bed, single, self.price, self.folds), self.price)

    def of(self, way: Way) -> list[Cell]:
        """Of a way that decides a fold's questions."""
        return self.of_given(by_fold(self.bed, self.folds, way))

    def by(self, row: Row) -> list[Cell]:
        """Of a row of the large tables."""
        return self.of_given(decided(self.bed, row, self.price, self.folds))

    def of_given(self, given: Given) -> list[Cell]:
        """Of what was done with every question."""
        em, _, cost = outcome(self.bed, given)
        worth = utility(self.bed, given, self.price)
        more = bootstrap_interval(worth - self._single, self.bed.clusters.tolist())
        return [float(em.mean()), float(cost.mean()), float(worth.mean()), more]
