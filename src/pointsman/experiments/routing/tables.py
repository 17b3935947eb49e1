"""The tables of the routing experiment: every row on every set, macro means, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.evaluate.together import macro_intervals, macro_p_values

_Array = npt.NDArray[np.float64]
Scores = Mapping[str, npt.NDArray[np.float64]]
"""Set -> nDCG@10 of each of its queries."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of the table with its scores on every set, and `seconds` a query where it is a way to search."""

    name: str
    kind: str
    corpus: bool
    scores: Scores
    seconds: float | None = None

    def macro(self, sets: Sequence[str]) -> float:
        """The mean over sets of each set's mean."""
        return float(np.mean([self.scores[name].mean() for name in sets]))


def main_table(
    title: str, rows: Sequence[Measured], seen: Sequence[str], unseen: Sequence[str]
) -> Table:
    """nDCG@10 of every row: macro means of seen and unseen sets, then each set.

    Where rows say what a query costs, that comes last.
    """
    timed = any(row.seconds is not None for row in rows)
    columns: list[Column | str] = ["row", "kind"]
    columns += [Column(name, scale=100) for name in ("seen", "unseen", *seen, *unseen)]
    cells: list[list[Cell]] = []
    for row in rows:
        line: list[Cell] = [row.name + (" *" if row.corpus else ""), row.kind]
        line += [row.macro(sets) if sets else None for sets in (seen, unseen)]
        line += [float(row.scores[name].mean()) for name in (*seen, *unseen)]
        line += [row.seconds] if timed else []
        cells.append(line)
    notes = [
        "Means of seen and unseen are macro means over sets. * looks at the collection's documents, "
        "which betray the data set."
    ]
    if timed:
        columns.append(Column("ms a query", decimals=2, scale=1000))
        notes.append(
            "ms a query: routing and embedding, in batches of 64 on this machine, the median of "
            "rounds in turn; an oracle has none."
        )
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
    pairs = [(row, named[other]) for other in against for row in rows if row.name != other]
    differences = {
        name: np.stack([row.scores[name] - other.scores[name] for row, other in pairs], axis=1)
        for name in (*seen, *unseen)
    }
    columns: list[Column | str] = ["row", "against"]
    cells: list[list[Cell]] = [[row.name, other.name] for row, other in pairs]
    for part, sets in (("seen", seen), ("unseen", unseen)):
        columns += [Column(f"{part}: difference", decimals=2, scale=100), f"{part}: p"]
        found = _macro([differences[name] for name in sets])
        for i, line in enumerate(cells):
            line += found[i] if found else [None, ""]
    columns.append("significantly worse on")
    for line, worse in zip(cells, _worse(differences), strict=True):
        line.append(", ".join(worse) or "none")
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


def _macro(differences: Sequence[_Array]) -> list[list[Cell]]:
    """For every column the macro mean's interval and its p-value; nothing where there is no set."""
    if not differences:
        return []
    intervals, p_values = macro_intervals(differences), macro_p_values(differences)
    return [[each, f"{p:.4f}"] for each, p in zip(intervals, p_values.tolist(), strict=True)]


def _worse(differences: Mapping[str, _Array]) -> list[list[str]]:
    """For every column the sets on which it is significantly worse, and by how much."""
    columns = next(iter(differences.values())).shape[1]
    worse: list[list[str]] = [[] for _ in range(columns)]
    for name, each in differences.items():
        means, p_values = each.mean(axis=0), macro_p_values([each])
        for j in np.flatnonzero((means < 0) & (p_values < 0.05)).tolist():
            worse[j].append(f"{name} ({100 * means[j]:+.1f})")
    return worse
