"""The tables of the routing experiment: every row on every set, macro means, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.significance import (
    macro_interval,
    macro_randomisation,
    paired_randomisation,
)
from pointsman.evaluate.tables import Cell, Column, Table

Scores = Mapping[str, npt.NDArray[np.float64]]
"""Set -> nDCG@10 of each of its queries."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the table with its scores on every set."""

    name: str
    kind: str
    corpus: bool
    scores: Scores

    def macro(self, sets: Sequence[str]) -> float:
        """The mean over sets of each set's mean."""
        return float(np.mean([self.scores[name].mean() for name in sets]))


def main_table(
    title: str, rows: Sequence[Measured], seen: Sequence[str], unseen: Sequence[str]
) -> Table:
    """nDCG@10 of every row: macro means of seen and unseen sets, then each set."""
    columns: list[Column | str] = ["row", "kind"]
    columns += [Column(name, scale=100) for name in ("seen", "unseen", *seen, *unseen)]
    cells: list[list[Cell]] = []
    for row in rows:
        line: list[Cell] = [row.name + (" *" if row.corpus else ""), row.kind]
        line += [row.macro(sets) if sets else None for sets in (seen, unseen)]
        line += [float(row.scores[name].mean()) for name in (*seen, *unseen)]
        cells.append(line)
    notes = [
        "Means of seen and unseen are macro means over sets. * looks at the collection's documents, "
        "which betray the data set."
    ]
    return Table(title, columns, cells, notes)


def significance_table(
    title: str,
    rows: Sequence[Measured],
    against: Sequence[str],
    seen: Sequence[str],
    unseen: Sequence[str],
) -> Table:
    """Macro differences of every row from the rows named: interval by resampling queries within
    sets, p of the paired randomisation test, and the sets where it is significantly worse.
    """
    named = {row.name: row for row in rows}
    columns: list[Column | str] = ["row", "against"]
    for part in ("seen", "unseen"):
        columns += [Column(f"{part}: difference", decimals=2, scale=100), f"{part}: p"]
    columns.append("significantly worse on")
    cells: list[list[Cell]] = []
    for other in against:
        for row in rows:
            if row.name == other:
                continue
            line: list[Cell] = [row.name, other]
            for sets in (seen, unseen):
                line += _difference(row.scores, named[other].scores, sets)
            worse = _worse(row.scores, named[other].scores, [*seen, *unseen])
            line.append(", ".join(worse) or "none")
            cells.append(line)
    notes = [
        "Intervals: 95 % bootstrap of the macro mean, queries resampled within sets. p: paired "
        "randomisation, two-sided. The last column: p < 0.05 on that set alone, without correction "
        "for the number of sets."
    ]
    return Table(title, columns, cells, notes)


def heat_map(
    title: str, weights: Mapping[str, npt.NDArray[np.floating]], names: Sequence[str]
) -> Table:
    """How much weight each set's queries [n, 1 + experts] give to each expert on average, in %."""
    columns: list[Column | str] = [
        "queries of",
        *(Column(name, scale=100, decimals=0) for name in names),
    ]
    cells: list[list[Cell]] = [
        [set, *(float(share) for share in each.mean(axis=0))] for set, each in weights.items()
    ]
    return Table(title, columns, cells)


def _difference(a: Scores, b: Scores, sets: Sequence[str]) -> list[Cell]:
    if not sets:
        return [None, ""]
    differences = [a[name] - b[name] for name in sets]
    test = macro_randomisation([a[name] for name in sets], [b[name] for name in sets])
    return [macro_interval(differences), f"{test.p_value:.4f}"]


def _worse(a: Scores, b: Scores, sets: Sequence[str]) -> list[str]:
    worse = []
    for name in sets:
        test = paired_randomisation(a[name], b[name])
        if test.difference < 0 and test.p_value < 0.05:
            worse.append(f"{name} ({100 * test.difference:+.1f})")
    return worse
