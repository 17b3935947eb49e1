"""A rejector that reads: the paper's, trained end to end on question and passage through an adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pointsman.backbone.encoder import Backbone
from pointsman.defer.adapted import Pair, Part, Reads, learn, outputs, reading_gflops
from pointsman.defer.cost import cheapest
from pointsman.defer.evidence import calibrated
from pointsman.defer.surrogate import Weights, deferral
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.bed import Bed, Floats
from pointsman.experiments.deferral.measured import outcome, utility
from pointsman.experiments.deferral.rows import BEST, OURS, SURROGATE, US, Fold, Given, rows
from pointsman.experiments.report import Show

PRICES = (0.01, 0.05)
U = 1.0
READS, FORESEEN = "a rejector that reads", "expected errors, by reading"

# Of five parts of the training questions that share no cluster the last says what outputs are worth.
_PARTS = 5


@dataclass(frozen=True)
class Reading:
    """What a rejector that reads through an adapter needs: `folder` keeps the runs, `fast` is an encoder of
    the same weights that need not train.
    """

    backbone: Backbone
    fast: Backbone
    folder: Path
    show: Show
    reads: Sequence[Reads]
    known: dict[tuple[str, int], Floats] = field(default_factory=dict)

    def allocate(
        self, fold: Fold, reads: Reads, price: float, kind: Weights = "shifted", u: float = U
    ) -> Given:
        """Trained end to end on the fold's questions and passages, at this price by the loss of u."""
        costs = fold.costs(price, fold.train, fold.train.em).astype(np.float32)
        loss, what = partial(deferral, u=u, kind=kind), f"surrogate, u = {u:g}, {kind}"
        part = self._learned(fold.train.pairs, costs, loss, what, reads)
        scores = outputs(self.fast, part, fold.test.pairs, reads)
        choice = scores.argmax(axis=1).astype(np.int64)
        return Given.one(choice, fold.agents, self._taken(fold.test, reads))

    def foresee(self, fold: Fold, price: float) -> Given:
        """Whoever is expected to cost least, by how likely each agent is right: learned end to end once, for any
        price, and calibrated on a fifth of the questions that it did not learn from.
        """
        key = fold.train.name, fold.number
        if key not in self.known:
            self.known[key] = self._errors(fold)
        choice = cheapest(fold.costs(price, fold.test, 1 - self.known[key]))
        return Given.one(choice, fold.agents, self._taken(fold.test, self.reads[0]))

    def _errors(self, fold: Fold) -> Floats:
        """How likely each agent is wrong [n, A] about the test questions."""
        part = np.unique(fold.train.clusters, return_inverse=True)[1] % _PARTS
        taught, held = (
            fold.train.take(np.flatnonzero(rows))
            for rows in (part < _PARTS - 1, part == _PARTS - 1)
        )
        reads, right = self.reads[0], taught.em.astype(np.float32)
        loss = binary_cross_entropy_with_logits
        learned = self._learned(taught.pairs, right, loss, "errors", reads)
        known, asked = (outputs(self.fast, learned, b.pairs, reads) for b in (held, fold.test))
        terms = [calibrated(known[:, j], held.em[:, j])[:2] for j in range(fold.agents)]
        slope, level = np.array(terms).T
        return np.asarray(1 - expit(slope * asked + level))

    def _learned(
        self,
        pairs: Sequence[Pair],
        truth: npt.NDArray[np.float32],
        loss: Callable[[Tensor, Tensor], Tensor],
        what: str,
        reads: Reads,
    ) -> Part:
        """An adapter and a head of what is said of a pair; kept among the runs."""
        return learn(
            self.backbone,
            pairs,
            truth,
            loss,
            what,
            reads,
            self.folder / "runs",
            lambda each: self.show(f"training {read_by(reads)}", each.step, each.steps),
        )

    def _taken(self, asked: Bed, reads: Reads) -> Floats | None:
        """What reading takes [n], where costs are counted."""
        if not asked.counted:
            return None
        return np.array(reading_gflops(self.fast, asked.pairs, reads))


def readers(bed: Bed, fold: Fold, reading: Reading, prices: Sequence[float] = PRICES) -> Table:
    """It at a few prices on one fold of a bed, whose other folds it learns from, with both weights; at the last
    of the prices for every u, by the shifted ones.

    Each of the prices, weights and u is a training of its own, kept among the reading's runs: of SQuAD's dev
    set some 500 steps of 32 pairs through three layers, half a second to a second each on one core.
    """
    test = fold.test
    clusters = test.clusters.tolist()
    every = {row.name: row for row in rows(bed)}
    reads = reading.reads[0]
    kinds: tuple[Weights, ...] = get_args(Weights)
    others: list[tuple[float, Weights]] = [(u, "shifted") for u in US if u != U]
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
        losses = [(U, kind) for kind in kinds]
        if price == prices[-1]:
            losses += others
        for u, kind in losses:
            found[f"{READS}, u = {u:g}, {kind}"] = reading.allocate(fold, reads, price, kind, u)
        found[FORESEEN] = reading.foresee(fold, price)
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
        f"price and u; {FORESEEN}: once. The other surrogate sees the base's vectors."
    )
    return Table(f"{bed.name}: {READS}", columns, cells, [note])


def read_by(reads: Reads) -> str:
    """What it reads through, in words."""
    return (
        "an adapter, all layers" if reads.layers is None else f"an adapter, {reads.layers} layers"
    )
