"""How seldom the dearest agent has to be asked: all others first, and it where they leave a question open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.defer.candidates import Floats
from pointsman.defer.cost import Choices
from pointsman.defer.verifier import best
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.bed import Bed
from pointsman.experiments.deferral.measured import outcome
from pointsman.experiments.deferral.rows import Fold, Given, by_fold

Way = Callable[["_Others", float], Given]

SHARES = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
"""Of the questions, on which the dearest agent is to be asked."""

CLEARLY = 1.1
ONE_SIDED = 0.9
"""An interval of this level has, at its lower end, the bound that holds with 95 % at one side."""


def economy(bed: Bed, folds: Sequence[Fold]) -> list[Table]:
    """What is lost against the dearest agent alone where it is asked on a share of the questions.

    Which ones is known from the training record: those whose best answer by all others has the least
    chances there, of questions that the verifier did not learn from. No table where no agent is clearly
    the dearest.
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
    for share in SHARES:
        for where, way in (("others are unsure", _Others.unsure), ("chance says", _Others.chance)):

            def decide(fold: Fold, way: Way = way, share: float = share) -> Given:
                return way(others[fold.number], share)

            found = by_fold(bed, folds, decide)
            em, _, cost = outcome(bed, found)
            bound = bootstrap_interval(em - alone, clusters, level=ONE_SIDED).low
            line: list[Cell] = [share, where, float(found.asked[:, -1].mean())]
            line += [float(cost.mean()), float(em.mean())]
            cells.append([*line, bootstrap_interval(em - alone, clusters), bound])
    note = (
        f"All others are asked first. Cost: {dearest} alone 100. At least: the bound of the difference "
        "that holds with 95 % at one side."
    )
    return [Table(f"{bed.name}: how seldom {dearest} has to be asked", columns, cells, [note])]


@dataclass(frozen=True, eq=False)
class _Others:
    """Of a fold's questions whose answer is best of all but the dearest's [n] and its chance [n]; and such
    chances of the training questions, by verifiers that did not learn from them.
    """

    fold: Fold
    choice: Choices
    sure: Floats
    known: Floats

    @classmethod
    def of(cls, fold: Fold) -> _Others | None:
        """None where the cascade has no station of all others."""
        cascade = fold.cascade
        others = np.arange(fold.agents) < fold.agents - 1
        for k, verifier in enumerate(cascade.verifiers):
            if verifier is not None and (cascade.stations[k] == others).all():
                return cls(fold, *best(verifier(fold.test.said)), cascade.sure[k, :, 0])
        return None

    def unsure(self, share: float) -> Given:
        """The dearest is asked where the chance is among the least."""
        return self._then_the_dearest(self.sure < np.quantile(self.known, share))

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
