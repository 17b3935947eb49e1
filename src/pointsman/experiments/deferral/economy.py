"""How seldom the dearest agent has to be asked: all others first, and it where they leave a question open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.defer.cost import Choices
from pointsman.defer.verifier import best
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.bed import Bed, Floats
from pointsman.experiments.deferral.measured import outcome
from pointsman.experiments.deferral.rows import OURS, Fold, Given, by_fold

Way = Callable[["_Others", float], Given]

SHARES = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
"""Of the questions, on which the dearest agent is to be asked."""

CHOICES = tuple(i / 20 for i in range(1, 20))
"""Shares among which the record chooses."""

CHOSEN = "others are unsure, share chosen on the record"

LOSS = 0.005
"""So much exact match may be lost, with 95 % at one side."""

CLEARLY = 1.1
ONE_SIDED = 0.9
"""An interval of this level has, at its lower end, the bound that holds with 95 % at one side."""


def economy(bed: Bed, folds: Sequence[Fold], cascades: Mapping[float, Given]) -> list[Table]:
    """What is lost against the dearest agent alone where it is asked on a share of the questions.

    Which ones is known from the training record: those whose best answer by all others has the least
    chances there, of questions that the verifier did not learn from. One row's share was chosen on each
    fold's training record too: the smallest that loses no more than `LOSS` there; the others' are given.
    `cascades` are what looking before asking did at each price. No table where no agent is clearly the
    dearest.
    """
    if bed.units[-1] < CLEARLY * bed.units[-2]:
        return []
    others = {fold.number: each for fold in folds if (each := _Others.of(fold)) is not None}
    if len(others) < len(folds):
        return []
    dearest = bed.agents[-1]
    clusters = bed.clusters.tolist()
    alone = bed.em[:, -1]
    columns: list[Column | str] = [
        Column("share", scale=100, decimals=0),
        "asked where",
        Column(f"{dearest} asked", scale=100),
        Column("cost", scale=100),
        Column("EM", scale=100, decimals=2),
        Column(f"EM against {dearest}", scale=100, decimals=2),
        Column("at least", scale=100, decimals=2),
    ]
    cells: list[list[Cell]] = []

    def add(share: float | None, where: str, found: Given) -> None:
        em, _, cost = outcome(bed, found)
        line: list[Cell] = [share, where, float(found.asked[:, -1].mean())]
        line += [float(cost.mean()), float(em.mean()), bootstrap_interval(em - alone, clusters)]
        cells.append([*line, at_least(em - alone, clusters)])

    for share in SHARES:
        for where, way in (("others are unsure", _Others.unsure), ("chance says", _Others.chance)):

            def decide(fold: Fold, way: Way = way, share: float = share) -> Given:
                return way(others[fold.number], share)

            add(share, where, by_fold(bed, folds, decide))
    chosen = {number: each.enough() for number, each in others.items()}
    on_record = by_fold(bed, folds, lambda fold: others[fold.number].unsure(chosen[fold.number]))
    add(None, CHOSEN, on_record)
    for price, given in cascades.items():
        add(None, f"{OURS}, price {price:g}", given)
    shares = ", ".join(f"{100 * share:.0f}" for share in chosen.values())
    notes = [
        f"All others are asked first. Cost: {dearest} alone 100. At least: the bound of the difference "
        "that holds with 95 % at one side.",
        f"{CHOSEN}: the smallest share of {100 * CHOICES[0]:.0f}, {100 * CHOICES[1]:.0f}, … % whose bound "
        f"on the fold's training record, of questions that no verifier learned from, is within "
        f"{100 * LOSS:g} of {dearest}; every question where none is. Chosen: {shares} %.",
    ]
    return [Table(f"{bed.name}: how seldom {dearest} has to be asked", columns, cells, notes)]


def at_least(difference: Floats, clusters: Sequence[int]) -> float:
    """The bound of a mean difference [n] that holds with 95 % at one side."""
    return bootstrap_interval(difference, clusters, level=ONE_SIDED).low


@dataclass(frozen=True, eq=False)
class _Others:
    """Of a fold's questions whose answer is best of all but the dearest's [n] and its chance [n].

    Of its training questions, by verifiers that did not learn from them, such chances `known`, and how much
    more often than the dearest alone is right the best answer of the `others`, and of `everyone`.
    """

    fold: Fold
    choice: Choices
    sure: Floats
    known: Floats
    others: Floats
    everyone: Floats

    @classmethod
    def of(cls, fold: Fold) -> _Others | None:
        """None where the cascade has no station of all others."""
        cascade = fold.cascade
        asked = cascade.stations
        others = np.flatnonzero((asked == (np.arange(fold.agents) < fold.agents - 1)).all(axis=1))
        if not len(others):
            return None
        k, everyone = int(others[0]), int(asked.sum(axis=1).argmax())
        verifier = cascade.verifiers[k]
        assert verifier is not None  # somebody is asked
        choice, sure = best(verifier(fold.test.said))
        known = cascade.sure[k, :, 0].astype(np.float64)
        more = cascade.worth()[:, [k, everyone]] - fold.train.em[:, -1:]
        return cls(fold, choice, sure.astype(np.float64), known, *more.T)

    def enough(self) -> float:
        """The smallest share that surely loses little on the training record; 1 where none does."""
        clusters = self.fold.train.clusters.tolist()
        for share in CHOICES:
            on = self.known < np.quantile(self.known, share)
            if at_least(np.where(on, self.everyone, self.others), clusters) >= -LOSS:
                return share
        return 1.0

    def unsure(self, share: float) -> Given:
        """The dearest is asked where the chance is among the least; everywhere for a share of 1."""
        least = np.quantile(self.known, share) if share < 1 else np.inf
        return self._then_the_dearest(self.sure < least)

    def chance(self, share: float) -> Given:
        """The dearest is asked anywhere."""
        generator = np.random.default_rng([self.fold.seed, self.fold.number])
        return self._then_the_dearest(generator.random(len(self.choice)) < share)

    def _then_the_dearest(self, on: npt.NDArray[np.bool_]) -> Given:
        """Everyone's verified answer where the dearest is asked too, the others' elsewhere."""
        asked = np.ones(self.fold.test.em.shape, dtype=bool)
        asked[:, -1] = on
        given = np.where(on, self.fold.everyone.given, self.choice)
        return Given(given.astype(np.int64), asked)
