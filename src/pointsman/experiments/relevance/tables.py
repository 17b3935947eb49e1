"""The relevance tables: every row on every sample, differences between rows, the path of LPFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.classification import bootstrap, macro_f1
from pointsman.evaluate.significance import Interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.relevance.bed import Sample
from pointsman.experiments.relevance.graders import Run
from pointsman.experiments.relevance.measures import MEASURES, measured
from pointsman.experiments.relevance.rows import Row, Rows
from pointsman.grade.decision import Decision
from pointsman.grade.recipe import ALPHAS
from pointsman.types import FloatArray

Said = Mapping[str, Sequence[FloatArray]]
"""Sample -> probabilities of each seed."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A row, and what its graders of all seeds say of every sample, `on` being dev."""

    row: Row
    said: Said
    on: Sample

    @cached_property
    def decisions(self) -> list[Decision]:
        """The thresholds of each seed, which dev chooses."""
        return [Decision.fit(said, self.on.labels) for said in self.said[self.on.name]]

    def measured(self, sample: Sample) -> list[dict[str, float]]:
        """The measures of each seed."""
        pairs = zip(self.said[sample.name], self.decisions, strict=True)
        return [measured(sample, said, decision) for said, decision in pairs]

    def named(self, sample: Sample) -> npt.NDArray[np.int64]:
        """The grades that all seeds name, by thresholds, one seed's after the other's."""
        pairs = zip(self.said[sample.name], self.decisions, strict=True)
        return np.concatenate([decision.grades(said) for said, decision in pairs])


def main_table(title: str, sample: Sample, rows: Sequence[Measured]) -> Table:
    """Every measure of every row, means over seeds, and the spread of macro-F1."""
    columns: list[Column | str] = ["row", "kind", Column("labels", decimals=0)]
    columns += [
        Column(name, scale=100) if name not in ("ECE", "Brier", "NLL") else Column(name, decimals=3)
        for name in MEASURES
    ]
    columns.append(Column("by thresholds: sd", decimals=2, scale=100))
    cells: list[list[Cell]] = []
    for each in rows:
        found = each.measured(sample)
        line: list[Cell] = [each.row.name, each.row.kind, each.row.labels]
        line += [float(np.mean([one[name] for one in found])) for name in MEASURES]
        scores = [one["by thresholds"] for one in found]
        line.append(float(np.std(scores, ddof=1)) if len(scores) > 1 else None)
        cells.append(line)
    notes = [
        "labels: pairs of the pool that were paid for. by thresholds: macro-F1 of the grades that "
        "are named where each grade counts by a weight that id_dev prefers; sd over seeds."
    ]
    return Table(title, columns, cells, notes)


def difference_table(title: str, sample: Sample, rows: Sequence[Measured]) -> Table:
    """Differences of macro-F1 by thresholds from plain fine-tuning and from random picking."""
    named = {each.row.name: each for each in rows}
    columns: list[Column | str] = ["row"]
    cells: list[list[Cell]] = [[each.row.name] for each in rows]
    for name in ("plain fine-tuning", "+ random"):
        if name not in named:
            continue
        columns += [Column(f"against {name}", decimals=2, scale=100), f"p ({name})"]
        for line, each in zip(cells, rows, strict=True):
            line += (
                _difference(sample, each, named[name]) if each is not named[name] else [None, ""]
            )
    notes = [
        "Macro-F1 by thresholds of all seeds' predictions together; 95 % bootstrap over queries, p by paired "
        "randomisation of queries."
    ]
    return Table(f"{title}: differences of macro-F1 by thresholds", columns, cells, notes)


def path_table(rows: Rows, seed: int = 0) -> Table:
    """Macro-F1 and likelihood along the path from probe to fine-tuned grader, of one seed."""
    bed = rows.graders.bed
    samples = (bed.id_dev, bed.shifted, bed.id_test, bed.ood_test, bed.shop)
    columns: list[Column | str] = ["α"]
    columns += [Column(f"{s.name}: by thresholds", scale=100) for s in samples]
    columns += [Column(f"{s.name}: NLL", decimals=3) for s in samples]
    cells: list[list[Cell]] = []
    for alpha in ALPHAS:
        says = rows.said(Run(probing=True, seed=seed), alpha)
        decision = Decision.fit(says(bed.id_dev), bed.id_dev.labels)
        found = [measured(sample, says(sample), decision) for sample in samples]
        line: list[Cell] = [f"{alpha:g}"]
        for name in ("by thresholds", "NLL"):
            line += [each[name] for each in found]
        cells.append(line)
    return Table("From the probe (α = 0) to the fine-tuned grader (1), first seed", columns, cells)


def _difference(sample: Sample, one: Measured, other: Measured) -> list[Cell]:
    seeds = len(one.said[sample.name])
    found = bootstrap(
        macro_f1,
        np.tile(sample.labels, seeds),
        one.named(sample),
        other.named(sample),
        classes=one.said[sample.name][0].shape[1],
        groups=sample.queries * seeds,
    )
    assert found.p_value is not None
    return [Interval(found.value, found.low, found.high, found.n), f"{found.p_value:.4f}"]
