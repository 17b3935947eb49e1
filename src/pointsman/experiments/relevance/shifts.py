"""Other shares of the grades: corrections without labels, where shares alone differ and where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.calibration import nll
from pointsman.evaluate.classification import confusion, macro_f1
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.relevance.bed import Bed, Sample
from pointsman.experiments.relevance.tables import Measured
from pointsman.grade.mixture import explain
from pointsman.grade.shift import estimate, reweighted
from pointsman.types import FloatArray

Ints = npt.NDArray[np.int64]

LEVEL = 0.01
"""A population that grades as they were explain worse than this is left as it is."""
SHARES = ((0.4, 0.4, 0.2), (0.05, 0.1, 0.85))
"""Shares of the grades that known topics are drawn to, beside those of the other shop."""
WAYS = ("as it is", "by EM", "by a mixture", "where the test allows", "by its true shares")
_NOTES = (
    "NLL: negative log-likelihood; means over seeds. EM and the mixture see no label of the "
    "population; the mixture knows id_dev's.",
    f"The test allows the mixture where p >= {LEVEL} that nothing but shares differs; the greatest p "
    "of all seeds is shown.",
)


@dataclass(frozen=True, eq=False)
class Population:
    """Pairs with other shares of the grades, and what the graders of all seeds say of them [n, G]."""

    name: str
    labels: Ints
    queries: Sequence[str]
    said: Sequence[FloatArray]

    @classmethod
    def of(cls, row: Measured, sample: Sample) -> Population:
        """A whole sample."""
        return cls(sample.name, sample.labels, sample.queries, row.said[sample.name])

    def drawn(self, shares: Sequence[float], seed: int = 0) -> Population:
        """As many pairs as there are to make these shares of the grades."""
        found = np.bincount(self.labels, minlength=len(shares))
        size = min(n / share for n, share in zip(found.tolist(), shares, strict=True) if share)
        generator = np.random.default_rng(seed)
        places = np.concatenate(
            [
                generator.choice(np.flatnonzero(self.labels == g), int(size * share), replace=False)
                for g, share in enumerate(shares)
            ]
        )
        queries = [self.queries[i] for i in places.tolist()]
        return Population(
            f"{self.name}, drawn", self.labels[places], queries, [p[places] for p in self.said]
        )

    def shares(self, grades: int) -> FloatArray:
        """The true ones [G]."""
        counts = np.bincount(self.labels, minlength=grades)
        return np.asarray(counts / len(self.labels), dtype=np.float32)

    def corrected(self, dev: Population, prior: FloatArray) -> tuple[list[list[FloatArray]], float]:
        """For each of WAYS the probabilities of each seed, and the greatest p of the seeds."""
        found: list[list[FloatArray]] = [[] for _ in WAYS]
        greatest = 0.0
        for said, known in zip(self.said, dev.said, strict=True):
            mixture = explain(
                known,
                dev.labels,
                said,
                labelled_groups=dev.queries,
                population_groups=self.queries,
            )
            mixed = _f32(reweighted(said, prior, mixture.prior))
            ways = (
                said,
                _f32(estimate(said, prior).probabilities),
                mixed,
                mixed if mixture.p_value >= LEVEL else said,
                _f32(reweighted(said, prior, self.shares(len(prior)))),
            )
            for so_far, each in zip(found, ways, strict=True):
                so_far.append(each)
            greatest = max(greatest, mixture.p_value)
        return found, greatest


def shift_tables(bed: Bed, rows: Sequence[Measured]) -> list[Table]:
    """Every row on the other shop, and the first row on populations whose shares alone are others."""
    grades = len(bed.grading.names)
    prior = _f32(np.bincount(bed.train.labels, minlength=grades) / len(bed.train))
    losses: list[Column | str] = [Column(f"NLL {way}", decimals=3) for way in WAYS]
    of_rows: list[list[Cell]] = []
    for row in rows:
        shop = Population.of(row, bed.shop)
        found, p = shop.corrected(Population.of(row, bed.id_dev), prior)
        of_rows.append(
            [row.row.name, *_f1s(found[:3], shop.labels), *_nlls(found, shop.labels), f"{p:.1g}"]
        )
    first = rows[0]
    known, shop = (Population.of(first, sample) for sample in (bed.id_test, bed.shop))
    populations = [
        known,
        *(known.drawn(shares) for shares in (shop.shares(grades).tolist(), *SHARES)),
        Population.of(first, bed.ood_test),
        shop,
    ]
    of_populations: list[list[Cell]] = []
    for each in populations:
        found, p = each.corrected(Population.of(first, bed.id_dev), prior)
        shares = " / ".join(f"{100 * share:.0f}" for share in each.shares(grades))
        of_populations.append([each.name, shares, *_nlls(found, each.labels), f"{p:.1g}"])
    f1s = [Column(f"macro-F1 {way}", scale=100) for way in WAYS[:3]]
    return [
        Table(
            "Another shop, before and after label-shift correction",
            ["row", *f1s, *losses, "p"],
            of_rows,
            _NOTES,
        ),
        Table(
            f"Label shift where there is one and where there is none, {first.row.name}",
            ["population", "shares, %", *losses, "p"],
            of_populations,
            [*_NOTES, "Drawn: pairs of known topics at other shares of the grades."],
        ),
    ]


def _nlls(ways: Sequence[Sequence[FloatArray]], labels: Ints) -> list[Cell]:
    return [float(np.mean([nll(p, labels) for p in way])) for way in ways]


def _f1s(ways: Sequence[Sequence[FloatArray]], labels: Ints) -> list[Cell]:
    def score(p: FloatArray) -> float:
        return float(macro_f1(confusion(labels, p.argmax(axis=1), p.shape[1])))

    return [float(np.mean([score(p) for p in way])) for way in ways]


def _f32(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float32)
