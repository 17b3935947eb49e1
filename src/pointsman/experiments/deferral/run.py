"""The deferral experiment as a whole: recorded agents, every way to allocate among them, at every price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.defer.abstain import threshold
from pointsman.defer.adapted import Reads
from pointsman.evaluate.calibration import ece
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.ablations import (
    elsewhere,
    looked,
    muddled,
    rejectors,
    went_on,
)
from pointsman.experiments.deferral.bed import Bed, judged, looked_at, squad
from pointsman.experiments.deferral.economy import economy
from pointsman.experiments.deferral.hops import check_several, several
from pointsman.experiments.deferral.measured import outcome, taken, utility
from pointsman.experiments.deferral.pictures import draw_calibration, draw_frontier, draw_shares
from pointsman.experiments.deferral.reading import FORESEEN, Reading, readers
from pointsman.experiments.deferral.reading import PRICES as READ_AT
from pointsman.experiments.deferral.rows import (
    BEST,
    NEAREST,
    OURS,
    REJECTOR,
    SURROGATE,
    Fold,
    Given,
    Learned,
    Row,
    all_folds,
    decided,
    rows,
)
from pointsman.experiments.deferral.specialists import SETS, Sizes, Specialists
from pointsman.experiments.deferral.tampered import tampered
from pointsman.experiments.report import Report, Show, named, silent
from pointsman.read.marginal import reader_of
from pointsman.read.task import Part
from pointsman.read.verify import judge

PRICES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Correct answers given up for one unit of cost, the dearest agent costing one."""

WRONG = (0.1, 0.5, 2.0, 10.0)
"""By how much the prices of all agents but the dearest are mistaken."""

READS = (Reads(), Reads(layers=None))
PROMISES = (0.02, 0.05, 0.1, 0.2)

Tables = Literal["all", "read", "others"]
Results = Mapping[tuple[str, float], Given]


def run(
    data: Path,
    backbone: Backbone,
    folder: Path,
    *,
    reader: Part | None = None,
    fast: Backbone | None = None,
    sizes: Sizes | None = None,
    prices: Sequence[float] = PRICES,
    seed: int = 0,
    limit: int | None = None,
    only: Sequence[str] | None = None,
    draw: Path | None = None,
    answers: Path | None = None,
    reads: Sequence[Reads] = READS,
    tables: Tables = "all",
    show: Show | None = None,
) -> Report:
    """Both beds of recorded agents, five-fold, and readers of our own that begin as `reader`, if there is one.

    `folder` keeps what encoding and training gave. `fast` answers, an encoder of the same weights that
    need not train. What our own readers said that stands in the folder `answers` is not asked again, and
    what is asked is put there: with all of it there none is trained. `reads` are the ways in which a rejector
    reads. Of all `tables` those of surrogates that read, each of which is trained for minutes, may be made
    alone, or all others. `limit` bounds the questions of each bed with recorded answers. `only` names the
    rows, and leaves out what else there is to say of them. Raises InputError for a name that no row has,
    and where the test bed is not there.
    """
    show = show or silent
    if reader is not None and only is None:
        check_several(data)
    cache = ArrayCache(folder)
    reading = Reading(backbone, fast or backbone, folder, show, reads)
    if tables == "read":
        bed = squad(data, backbone, cache, show, limit)
        return Report((readers(bed, Fold.of(bed, 0, seed), reading),), {"prices": READ_AT})
    made: list[Table] = []
    details: dict[str, object] = {"prices": list(prices), "rejector": asdict(REJECTOR)}
    beds: dict[str, tuple[Bed, list[Fold]]] = {}
    for load in (squad, judged):
        bed = load(data, backbone, cache, show, limit)
        beds[load.__name__] = (bed, all_folds(bed, seed))
    if reader is not None:
        own = Specialists(
            data,
            backbone,
            reader,
            folder,
            show,
            fast=fast,
            answers=answers,
            sizes=sizes,
            seed=seed,
        )
        record, test = own.bed(own.record), own.bed(own.test)
        learned = Learned(record, 0, seed)
        beds["specialists"] = (test, [Fold.whole(learned, test)])
    for short, (bed, folds) in beds.items():
        found, chosen = measure(bed, folds, prices, only, show, reading)
        made += report(bed, folds, found, chosen, prices)
        if only is None:
            show(f"{bed.name}: ablations", 0, 1)
            # Through an adapter it takes minutes a fold; there is one fold of our own readers' questions.
            made += [
                rejectors(bed, folds, reading if len(folds) == 1 else None),
                muddled(bed, folds),
            ]
            if short == squad.__name__ and tables == "all":
                made.append(readers(bed, folds[0], reading))
        details[bed.name] = {
            "questions": len(bed),
            "missing answers": bed.missing,
            "units": dict(zip(bed.agents, bed.units.tolist(), strict=True)),
        }
        if draw is not None:
            draw_frontier(bed, found, chosen, prices, draw.with_name(f"{draw.name}-{short}.svg"))
            if any(row.name == OURS for row in chosen):
                shares = draw.with_name(f"{draw.name}-{short}-asked.svg")
                draw_shares(bed, {p: found[OURS, p].asked.mean(axis=0) for p in prices}, shares)
                some = sorted({prices[0], prices[len(prices) // 2]})
                sure = draw.with_name(f"{draw.name}-{short}-calibration.svg")
                draw_calibration(bed, folds, found, some, sure)
    if reader is not None and only is None:
        looks = partial(judge, reader_of(fast or backbone, reader, own.sizes.reader))
        seen = looked_at(data, backbone, cache, show, looks, limit)
        if seen is not None:
            made.append(looked(seen, (0.0, 0.03, 0.05, 0.1), seed))
        made += [
            elsewhere(learned, test, SETS),
            went_on(*_before_and_after(own, seed), test),
            tampered(own, learned),
            several(own, learned, data, limit),
        ]
    return Report(tuple(made), details)


def _before_and_after(own: Specialists, seed: int) -> tuple[Learned, Learned]:
    """What is learned from the same questions when agents had learned half of it, and from them as they are."""
    some = [each for mine in own.some(own.record) for each in mine]
    earlier, now = own.bed(some, earlier=True), own.bed(some)
    return Learned(earlier, 0, seed), Learned(now, 0, seed)


def measure(
    bed: Bed,
    folds: Sequence[Fold],
    prices: Sequence[float],
    only: Sequence[str] | None,
    show: Show,
    reading: Reading,
) -> tuple[dict[tuple[str, float], Given], list[Row]]:
    """What every row did with every question at every price, by row's name and price."""
    chosen = named([*rows(bed), Row(FORESEEN, "ours", reading.foresee)], only)
    found = {}
    for i, row in enumerate(chosen):
        for price in prices:
            show(f"{bed.name}: {row.name}, price {price:g}", i, len(chosen))
            found[row.name, price] = decided(bed, row, price, folds)
    return found, chosen


def report(
    bed: Bed,
    folds: Sequence[Fold],
    found: Results,
    chosen: Sequence[Row],
    prices: Sequence[float],
) -> list[Table]:
    """All tables of one bed."""
    names = {row.name for row in chosen}
    tables = [price_table(bed, found, chosen, price) for price in prices]
    tables.append(utility_table(bed, found, chosen, prices))
    tables.append(asked_table(bed, found, chosen, prices))
    if OURS in names:
        tables += [
            *economy(bed, folds, {price: found[OURS, price] for price in prices}),
            wrong_prices(bed, folds, prices),
            promises(bed, found[OURS, prices[0]]),
        ]
    return tables


def price_table(bed: Bed, found: Results, chosen: Sequence[Row], price: float) -> Table:
    """Every row at one price, against the best single agent there."""
    dearest = bed.agents[-1]
    columns: list[Column | str] = [
        "row",
        "kind",
        Column("EM", scale=100, decimals=2),
        Column("F1", scale=100, decimals=2),
        Column("cost", scale=100),
        Column("EM per cost", decimals=2),
        *_COUNTED * bed.counted,
        Column(f"{dearest} asked", scale=100),
        Column("utility", scale=100, decimals=2),
        Column("EM against best single", scale=100, decimals=2),
        Column("utility against it", scale=100, decimals=2),
    ]
    clusters = bed.clusters.tolist()
    base = found.get((BEST, price))
    cells: list[list[Cell]] = []
    for row in chosen:
        mine = found[row.name, price]
        em, graded, cost = outcome(bed, mine)
        line: list[Cell] = [row.name, row.kind, float(em.mean()), float(graded.mean())]
        line += [float(cost.mean()), float(em.mean() / cost.mean())]
        if bed.counted:
            gflops = float(taken(bed, mine).mean())
            line += [gflops, float(em.mean()) / gflops]
        line += [float(mine.asked[:, -1].mean()), float(utility(bed, mine, price).mean())]
        if base is None:
            line += [None, None]
        else:
            line += [
                bootstrap_interval(em - outcome(bed, base)[0], clusters),
                bootstrap_interval(utility(bed, mine, price) - utility(bed, base, price), clusters),
            ]
        cells.append(line)
    learned = ", five-fold" if len(np.unique(bed.folds)) > 1 else ""
    hundred = f"the mean of {dearest} on the record" if bed.counted else f"{dearest} alone"
    note = (
        f"{len(bed):,} questions{learned}; intervals over {len(set(clusters)):,} clusters. Cost: of all "
        f"that were asked, {hundred} 100. Utility: EM less the price times the cost."
    )
    counted = (
        "Costs are what each question took of each agent; rows decide by that, which follows from the "
        "passage's length. Rows that look at the question's vector before they ask also pay for encoding "
        "the question; its passage's vector stands in the index already and is not counted."
    )
    proportional = (
        "Costs are published proportions, the same for every question; what deciding takes has no place "
        "among them and is not counted."
    )
    notes = [note, counted if bed.counted else proportional, *filter(None, [bed.note])]
    return Table(f"{bed.name}: price {price:g}", columns, cells, notes)


_COUNTED = [
    Column("GFLOPs", decimals=2),
    Column("EM per GFLOP", scale=100, decimals=2),
]


def asked_table(bed: Bed, found: Results, chosen: Sequence[Row], prices: Sequence[float]) -> Table:
    """On how many of the questions the rows ask each agent, at every price."""
    columns: list[Column | str] = [Column("price", decimals=2), "row"]
    columns += [Column(name, scale=100) for name in bed.agents]
    cells: list[list[Cell]] = [
        [price, row.name, *found[row.name, price].asked.mean(axis=0).tolist()]
        for price in prices
        for row in chosen
        if row.kind != "agent"
    ]
    note = "Percent of the questions on which each agent was asked, the cheapest first."
    return Table(f"{bed.name}: who is asked", columns, cells, [note])


def utility_table(
    bed: Bed, found: Results, chosen: Sequence[Row], prices: Sequence[float]
) -> Table:
    """Utility of every row at every price, and the area under the frontier of EM by cost."""
    columns: list[Column | str] = ["row", "kind"]
    columns += [Column(f"price {price:g}", scale=100, decimals=2, best="max") for price in prices]
    columns.append(Column("area", scale=100, decimals=2))
    cells: list[list[Cell]] = []
    for row in chosen:
        values = [float(utility(bed, found[row.name, p], p).mean()) for p in prices]
        points = [outcome(bed, found[row.name, price]) for price in prices]
        area = frontier_area([(float(c.mean()), float(e.mean())) for e, _, c in points])
        cells.append([row.name, row.kind, *values, area])
    note = (
        "Area: mean EM that can be had at a cost drawn evenly from 0 to 1, answering nothing at 0."
    )
    return Table(f"{bed.name}: utility", columns, cells, [note])


def frontier_area(points: Sequence[tuple[float, float]]) -> float:
    """The area under the upper hull of points (cost, EM) from (0, 0) to cost 1.

    Any two can be mixed by chance, so what lies on the line between them can be had.
    """
    hull: list[tuple[float, float]] = [(0.0, 0.0)]
    top = 0.0
    for cost, em in sorted(points):
        if em <= top:
            continue
        top = em
        while len(hull) > 1 and _below(hull[-2], hull[-1], (cost, em)):
            hull.pop()
        hull.append((cost, em))
    area = 0.0
    for (x, y), (x2, y2) in pairwise(hull):
        if x >= 1:
            break
        end = min(x2, 1.0)
        height = y + (y2 - y) * (end - x) / (x2 - x) if x2 > x else y2
        area += (end - x) * (y + height) / 2
    last = hull[-1]
    return area + max(0.0, 1 - last[0]) * last[1]


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def wrong_prices(bed: Bed, folds: Sequence[Fold], prices: Sequence[float]) -> Table:
    """What a mistaken price list costs: cheap agents priced by a factor of what they take."""
    factors = (1.0, *WRONG)
    columns: list[Column | str] = [Column("price", decimals=2), "row"]
    columns += [Column(f"cheap ones × {factor:g}", scale=100, decimals=2) for factor in factors]
    every = {row.name: row for row in rows(bed)}
    cells: list[list[Cell]] = []
    mistaken = {
        factor: [fold.believing(np.append(np.full(fold.agents - 1, factor), 1.0)) for fold in folds]
        for factor in factors
    }
    for price in prices:
        for name in (BEST, NEAREST, SURROGATE, OURS):
            line: list[Cell] = [price, name]
            for each in mistaken.values():
                given = decided(bed, every[name], price, each)
                line.append(float(utility(bed, given, price).mean()))
            cells.append(line)
    note = "Utility by the true prices; learned, chosen and planned by the mistaken ones."
    return Table(f"{bed.name}: mistaken prices", columns, cells, [note])


def promises(bed: Bed, given: Given) -> Table:
    """Answering only where it is likely enough: the share answered, and whether the promise holds."""
    if given.chance is None:
        return Table(f"{bed.name}: promises", ["promised"], [])
    em, _, _ = outcome(bed, given)
    generator = np.random.default_rng(0)
    columns: list[Column | str] = [
        Column("errors promised", scale=100, decimals=0),
        Column("answered", scale=100),
        Column("errors among them", scale=100, decimals=2),
        Column("promises kept", scale=100, decimals=0),
    ]
    cells: list[list[Cell]] = []
    clusters = np.unique(bed.clusters)
    for error in PROMISES:
        shares, errors, kept = [], [], []
        for _ in range(100):
            held = np.isin(bed.clusters, generator.permutation(clusters)[: len(clusters) // 2])
            least = threshold(given.chance[held], em[held], error, clusters=bed.clusters[held])
            on = ~held & (given.chance >= least)
            shares.append(on.sum() / (~held).sum())
            if on.any():
                errors.append(1 - em[on].mean())
            kept.append(not on.any() or errors[-1] <= error)
        seen = float(np.mean(errors)) if errors else None
        cells.append([error, float(np.mean(shares)), seen, float(np.mean(kept))])
    gap = ece(given.chance, em.astype(bool))
    note = (
        f"{OURS}, at the first price; ECE of its chances {gap:.3f}. Half of the clusters set the "
        "threshold, the other half is answered; a hundred draws, each promise with probability 0.9. The "
        "other half is a draw as well, so that a promise at its limit is kept there about 82 times in 100."
    )
    return Table(f"{bed.name}: promises", columns, cells, [note])
