"""How seldom the dearest agent has to be asked: all others first, and it where they leave a question open."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
    places = [_before_the_dearest(fold) for fold in folds]
    if bed.units[-1] < CLEARLY * bed.units[-2] or None in places:
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
        for where, way in (("others are unsure", _unsure), ("chance says", _chance)):
            found = by_fold(bed, folds, partial(way, share=share))
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


def _before_the_dearest(fold: Fold) -> int | None:
    """The station of the cascade where all others were asked."""
    others = np.arange(fold.agents) < fold.agents - 1
    found = np.flatnonzero((fold.cascade.stations == others).all(axis=1))
    return int(found[0]) if len(found) else None


def _others(fold: Fold) -> tuple[Choices, Floats, Floats]:
    """Whose answer is best of all but the dearest's [n], its chance [n], and such chances in training, by
    verifiers that did not learn from the question.
    """
    k = _before_the_dearest(fold)
    assert k is not None  # else there is no table
    verifier = fold.cascade.verifiers[k]
    assert verifier is not None
    return *best(verifier(fold.test.said)), fold.cascade.sure[k, :, 0]


def _unsure(fold: Fold, share: float) -> Given:
    choice, chance, known = _others(fold)
    return _then_the_dearest(fold, choice, chance < np.quantile(known, share))


def _chance(fold: Fold, share: float) -> Given:
    choice, _, _ = _others(fold)
    generator = np.random.default_rng([fold.seed, fold.number])
    return _then_the_dearest(fold, choice, generator.random(len(choice)) < share)


def _then_the_dearest(fold: Fold, choice: Choices, on: npt.NDArray[np.bool_]) -> Given:
    """Everyone's verified answer where the dearest is asked too, the others' elsewhere."""
    asked = np.ones(fold.test.em.shape, dtype=bool)
    asked[:, -1] = on
    return Given(np.where(on, fold.everyone.given, choice).astype(np.int64), asked)
