"""A rejector that reads: the paper's, trained end to end on question and passage through an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.defer.adapted import Reads, learn, outputs, reading_gflops
from pointsman.defer.surrogate import Weights, deferral
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.bed import Bed, Floats
from pointsman.experiments.deferral.measured import outcome, utility
from pointsman.experiments.deferral.rows import BEST, OURS, SURROGATE, Fold, Given, rows
from pointsman.experiments.report import Show

PRICES = (0.01, 0.05)
READS = "a rejector that reads"


@dataclass(frozen=True)
class Reading:
    """What a rejector that reads through an adapter needs: `folder` keeps the runs, `fast` is an encoder of
    the same weights that need not train.
    """

    backbone: Backbone
    fast: Backbone
    folder: Path
    show: Show
    reads: Sequence[Reads] = (Reads(), Reads(layers=None))

    def allocate(self, fold: Fold, reads: Reads, price: float, kind: Weights = "shifted") -> Given:
        """Trained end to end on the fold's questions and passages, at this price by the loss of u = 1."""
        costs = fold.costs(price, fold.train, fold.train.em).astype(np.float32)
        part = learn(
            self.backbone,
            fold.train.pairs,
            costs,
            partial(deferral, u=1.0, kind=kind),
            f"surrogate, u = 1, {kind}",
            reads,
            self.folder / "runs",
            lambda each: self.show(f"training {read_by(reads)}", each.step, each.steps),
        )
        scores = outputs(self.fast, part, fold.test.pairs, reads)
        choice = scores.argmax(axis=1).astype(np.int64)
        return Given.one(choice, fold.agents, self._taken(fold.test, reads))

    def _taken(self, asked: Bed, reads: Reads) -> Floats | None:
        """What reading takes [n], where costs are counted."""
        if not asked.counted:
            return None
        return np.array(reading_gflops(self.fast, asked.pairs, reads))


def readers(bed: Bed, fold: Fold, reading: Reading, prices: Sequence[float] = PRICES) -> Table:
    """It at a few prices on one fold of a bed, whose other folds it learns from, with both weights.

    Each of the prices and weights is a training of its own, kept among the reading's runs: of SQuAD's dev
    set some 500 steps of 32 pairs through three layers, about a second each on one core.
    """
    test = fold.test
    clusters = test.clusters.tolist()
    every = {row.name: row for row in rows(bed)}
    reads = reading.reads[0]
    kinds: tuple[Weights, ...] = get_args(Weights)
    columns: list[Column | str] = [
        Column("price", decimals=2),
        "row",
        Column("EM", scale=100, decimals=2),
        Column("F1", scale=100, decimals=2),
        Column("cost", scale=100),
        Column(f"{bed.agents[-1]} asked", scale=100),
        Column("utility", scale=100, decimals=2),
        Column("utility against best single", scale=100, decimals=2),
    ]
    cells: list[list[Cell]] = []
    for price in prices:
        found = {name: every[name].decide(fold, price) for name in (BEST, SURROGATE, OURS)}
        for kind in kinds:
            found[f"{READS}, {kind}"] = reading.allocate(fold, reads, price, kind)
        single = utility(test, found[BEST], price)
        for name, given in found.items():
            em, graded, cost = outcome(test, given)
            worth = utility(test, given, price)
            line: list[Cell] = [price, name, float(em.mean()), float(graded.mean())]
            line += [float(cost.mean()), float(given.asked[:, -1].mean()), float(worth.mean())]
            cells.append([*line, bootstrap_interval(worth - single, clusters)])
    note = (
        f"{len(test):,} questions, one fold; intervals over {len(set(clusters)):,} clusters. Trained end to "
        f"end through {read_by(reads)}, on the {len(fold.train):,} questions of the others, anew for each "
        "price, by the loss of u = 1. The other surrogate sees the base's vectors."
    )
    return Table(f"{bed.name}: {READS}", columns, cells, [note])


def read_by(reads: Reads) -> str:
    """What it reads through, in words."""
    return (
        "an adapter, all layers" if reads.layers is None else f"an adapter, {reads.layers} layers"
    )
