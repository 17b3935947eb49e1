"""The selection tables themselves: what rows gave on a test, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.selection.rows import APART, BOUNDS, PLAIN, Row
from pointsman.joint.asked import Asked
from pointsman.joint.measures import CUTS, Measured

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Found:
    """A row, and what it gave on one test with each seed."""

    row: Row
    seeds: Sequence[Measured]

    def mean(self, what: str) -> Floats:
        """A measure of each question, its mean over the seeds."""
        values = [getattr(each, what) for each in self.seeds]
        return np.asarray(np.mean(values, axis=0), dtype=np.float64)

    def still_wrong(self) -> float | None:
        """The share of wrong answers where all supporting passages were read; None where there is no such
        question.
        """
        wrong = [1 - one.em[one.found == 1] for one in self.seeds]
        return float(np.concatenate(wrong).mean()) if any(map(len, wrong)) else None

    def recall(self, k: int) -> Floats:
        """The same of the answer's recall in the first k."""
        return np.asarray(np.mean([each.recall[k] for each in self.seeds], axis=0), np.float64)


def main_table(
    title: str, asked: Sequence[Asked], rows: Sequence[Found], *, spans: bool = True
) -> Table:
    """Every measure of every row, means over seeds; without `spans` answers stand in no passage."""
    cuts = CUTS if spans else ()
    columns: list[Column | str] = ["row", "kind", Column("EM", scale=100), Column("F1", scale=100)]
    columns += [Column(f"answer in the first {k}", scale=100) for k in cuts]
    columns += [Column("passages read", decimals=2)]
    columns += [Column("supporting, precision", scale=100), Column("recall", scale=100)]
    columns.append(Column("all read, still wrong", scale=100))
    columns.append(Column("F1: sd", decimals=2, scale=100))
    cells: list[list[Cell]] = []
    for each in rows:
        f1s = [float(one.f1.mean()) for one in each.seeds]
        line: list[Cell] = [each.row.name, each.row.kind]
        line += [float(each.mean(what).mean()) for what in ("em", "f1")]
        line += [float(each.recall(k).mean()) for k in cuts]
        line.append(float(each.mean("passages").mean()))
        line += [float(np.nanmean(each.mean(what))) for what in ("precision", "found")]
        line.append(each.still_wrong())
        line.append(float(np.std(f1s, ddof=1)) if len(f1s) > 1 else None)
        cells.append(line)
    note = (
        f"{len(asked):,} questions; sd over seeds. Precision and recall are of the supporting passages among "
        "the candidates. All read, still wrong: of the questions whose supporting passages among the "
        "candidates were all read, so many were answered with something else."
    )
    return Table(title, columns, cells, [note])


def difference_table(title: str, asked: Sequence[Asked], rows: Sequence[Found]) -> Table:
    """Differences from the best row whose selector and reader know nothing of each other, and how much of
    the gap to the bound closes. That best one is taken on the test itself, which is against us.
    """
    apart = [each for each in rows if each.row.kind in ("plain", "control")]
    if not apart:
        return Table(title, ["row"], [], ["No row is plain or a control."])
    base = max(apart, key=lambda each: float(each.mean("f1").mean()))
    clusters = [each.cluster for each in asked]
    against = base.mean("f1")
    bounds = [float(each.mean("f1").mean()) for each in rows if each.row.name in BOUNDS]
    gap = max(bounds) - float(against.mean()) if bounds else 0.0
    columns: list[Column | str] = [
        "row",
        Column("F1", decimals=2, scale=100),
        "p",
        Column("EM", decimals=2, scale=100),
        Column("of the gap", scale=100),
    ]
    cells: list[list[Cell]] = []
    for each in rows:
        if each is base:
            continue
        mine = each.mean("f1")
        exact = each.mean("em") - base.mean("em")
        cells.append(
            [
                each.row.name,
                bootstrap_interval(mine - against, clusters),
                f"{paired_randomisation(mine, against, clusters).p_value:.4f}",
                bootstrap_interval(exact, clusters),
                float(mine.mean() - against.mean()) / gap if gap else None,
            ]
        )
    unit = "questions" if all(each.cluster == each.id for each in asked) else "articles"
    note = (
        f"Against {base.row.name!r}, the best here of what was not trained together; questions' means over "
        f"seeds, 95 % bootstrap and paired randomisation over {len(set(clusters)):,} {unit}. The gap: to "
        "the best reader that was not trained together, on supporting passages alone."
    )
    return Table(title, columns, cells, [note])


def recall_table(title: str, asked: Sequence[Asked], rows: Sequence[Found]) -> Table:
    """How often an answer stands in the first passages: gains over retrieval, and over the selector apart."""
    named = {each.row.name: each for each in rows}
    if PLAIN not in named or APART[0] not in named:
        return Table(title, ["row"], [], ["Retrieval or the selector apart is not among the rows."])
    plain, apart = named[PLAIN], named[APART[0]]
    clusters = [each.cluster for each in asked]
    columns: list[Column | str] = ["row"]
    for k in CUTS:
        columns += [
            Column(f"in {k}: relative gain", scale=100),
            Column("of the misses", scale=100),
            Column("above the selector apart", decimals=2, scale=100),
        ]
    cells: list[list[Cell]] = []
    for each in rows:
        if each.row.kind not in ("paper", "ours") and each is not apart:
            continue
        line: list[Cell] = [each.row.name]
        for k in CUTS:
            before, after = float(plain.recall(k).mean()), float(each.recall(k).mean())
            line += [
                (after - before) / before if before else None,
                (after - before) / (1 - before) if before < 1 else None,
                bootstrap_interval(each.recall(k) - apart.recall(k), clusters),
            ]
        cells.append(line)
    note = "Gains over the order of retrieval, relative to it and to what it misses."
    return Table(title, columns, cells, [note])


MEASURES = ("f1", "em", "recall@1", "recall@5", "passages", "entropy", "log p")
"""What is looked at on dev at every iteration."""


def iteration_table(title: str, histories: Mapping[str, Sequence[Floats]]) -> Table:
    """Dev at every iteration of EM [n, MEASURES], means over seeds (and folds)."""
    columns: list[Column | str] = ["row", Column("iteration", decimals=0)]
    columns += [Column(name, decimals=2) for name in MEASURES]
    cells: list[list[Cell]] = []
    for row, each in histories.items():
        for i, means in enumerate(np.mean(each, axis=0).tolist()):
            cells.append([row, i, *means])
    note = (
        "Iteration 0 is where the two were when they had learned apart. Entropy of the selector in nats; "
        "log p is the mean of log(1/m Σ p(y | x, d_z)) over m selections drawn from it by a fixed seed, "
        "never below log 0.000001."
    )
    return Table(title, columns, cells, [note])
