"""The selection experiment as a whole: load, train apart and together, measure. Every step is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Report, Show, named, silent
from pointsman.experiments.selection.bed import Sizes, load
from pointsman.experiments.selection.estimator import SAMPLES, Counted, mean_spread
from pointsman.experiments.selection.lab import Lab, Plans, usual
from pointsman.experiments.selection.rows import APART, BOUND, Row, Rows
from pointsman.joint.asked import Asked
from pointsman.joint.measures import CUTS, Measured
from pointsman.read.likelihood import SpanLikelihood
from pointsman.read.marginal import reader_of
from pointsman.select.passagewise import set_log_likelihood

Floats = npt.NDArray[np.float64]

_ESTIMATED = 40  # questions whose gradients are looked at
_FEW, _CHOSEN = 6, 3  # candidates and choices that can be counted


@dataclass(frozen=True, eq=False)
class Found:
    """A row, and on every test what it gave with each seed."""

    row: Row
    on: Mapping[str, Sequence[Measured]]

    def mean(self, name: str, what: str) -> Floats:
        """A measure of each question, its mean over the seeds."""
        values = [getattr(each, what) for each in self.on[name]]
        return np.asarray(np.mean(values, axis=0), dtype=np.float64)

    def recall(self, name: str, k: int) -> Floats:
        """The same of the answer's recall in the first k."""
        values = [each.recall[k] for each in self.on[name]]
        return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def run(
    data: Path,
    backbone: Backbone,
    folder: Path,
    *,
    sizes: Sizes | None = None,
    plans: Plans | None = None,
    seeds: int = 3,
    limit: int | None = None,
    only: Sequence[str] | None = None,
    show: Show | None = None,
) -> Report:
    """All rows on the tests by so many seeds.

    `folder` keeps what is trained and measured; the same call goes on from there. `limit` bounds each
    test's questions. `only` names the rows. Raises InputError for a name that no row has.
    """
    show = show or silent
    sizes = sizes or Sizes()
    bed = load(data, backbone, replace(sizes, test=limit) if limit else sizes, show)
    plans = plans or usual(backbone)
    lab = Lab(bed, backbone, plans, folder / "runs", ArrayCache(folder / "said"), show)
    rows = named(Rows(lab).all(), only)
    found = []
    # Seed by seed, so that what is there when it is stopped is whole.
    systems: dict[str, list[dict[str, Measured]]] = {row.name: [] for row in rows}
    for seed in range(seeds):
        for i, row in enumerate(rows):
            show(f"seed {seed}: {row.name}", i, len(rows))
            system = row.system(seed)
            systems[row.name].append(
                {
                    name: lab.measured(
                        row.name, name, asked, system.choose(name, asked), system.reader
                    )
                    for name, asked in bed.tests.items()
                }
            )
    for row in rows:
        on = {name: [each[name] for each in systems[row.name]] for name in bed.tests}
        found.append(Found(row, on))
    times = "1 seed" if seeds == 1 else f"{seeds} seeds"
    tables = [
        *(main_table(f"{name}, {times}", name, asked, found) for name, asked in bed.tests.items()),
        *(difference_table(name, asked, found) for name, asked in bed.tests.items()),
    ]
    if only is None:
        tables += [iteration_table(lab, seeds), estimator_table(lab)]
    details = {
        "sizes": sizes,
        "plans": plans,
        "questions": {
            "read": len(bed.read),
            "taught": len(bed.taught),
            "together": len(bed.together),
            "dev": len(bed.dev),
            **{name: len(asked) for name, asked in bed.tests.items()},
        },
    }
    return Report(tuple(tables), details)


def main_table(title: str, name: str, asked: Sequence[Asked], rows: Sequence[Found]) -> Table:
    """Every measure of every row, means over seeds."""
    columns: list[Column | str] = ["row", "kind", Column("EM", scale=100), Column("F1", scale=100)]
    columns += [Column(f"answer in the first {k}", scale=100) for k in CUTS]
    columns += [Column("passages read", decimals=2)]
    columns += [Column("supporting, precision", scale=100), Column("recall", scale=100)]
    columns += [Column("read and still wrong", scale=100), Column("F1: sd", decimals=2, scale=100)]
    cells: list[list[Cell]] = []
    for each in rows:
        f1s = [float(one.f1.mean()) for one in each.on[name]]
        wrong = [float((one.held * (1 - one.em)).mean()) for one in each.on[name]]
        line: list[Cell] = [each.row.name, each.row.kind]
        line += [float(each.mean(name, what).mean()) for what in ("em", "f1")]
        line += [float(each.recall(name, k).mean()) for k in CUTS]
        line.append(float(each.mean(name, "passages").mean()))
        line += [float(np.nanmean(each.mean(name, what))) for what in ("precision", "found")]
        line += [float(np.mean(wrong)), float(np.std(f1s, ddof=1)) if len(f1s) > 1 else None]
        cells.append(line)
    note = (
        f"{len(asked):,} questions. Read and still wrong: an answer stood in what was read, and the "
        "reader said something else; sd over seeds."
    )
    return Table(title, columns, cells, [note])


def difference_table(name: str, asked: Sequence[Asked], rows: Sequence[Found]) -> Table:
    """Differences from the best row that was trained apart, and how much of the gap to the bound closes."""
    named = {each.row.name: each for each in rows}
    apart = [named[each] for each in (APART, "the same, selector apart") if each in named]
    if not apart:
        return Table(f"{name}: differences", ["row"], [], ["No row was trained apart."])
    base = max(apart, key=lambda each: float(each.mean(name, "f1").mean()))
    clusters = [each.cluster for each in asked]
    against = base.mean(name, "f1")
    gap = float(named[BOUND].mean(name, "f1").mean() - against.mean()) if BOUND in named else 0.0
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
        mine = each.mean(name, "f1")
        exact = each.mean(name, "em") - base.mean(name, "em")
        cells.append(
            [
                each.row.name,
                bootstrap_interval(mine - against, clusters),
                f"{paired_randomisation(mine, against, clusters).p_value:.4f}",
                bootstrap_interval(exact, clusters),
                float(mine.mean() - against.mean()) / gap if gap else None,
            ]
        )
    notes = [
        f"Against {base.row.name}, the best of what was trained apart; questions' means over seeds, "
        "95 % bootstrap and paired randomisation over articles. The gap: to its reader on supporting "
        "passages alone."
    ]
    return Table(f"{name}: differences", columns, cells, notes)


def iteration_table(lab: Lab, seeds: int) -> Table:
    """Dev at every iteration of EM, means over seeds."""
    names = ("f1", "em", "recall@1", "recall@5", "passages")
    columns: list[Column | str] = ["row", Column("iteration", decimals=0), *map(Column, names)]
    cells: list[list[Cell]] = []
    for title, policy in (("DRO", "pointer"), ("ours: every set", "sets")):
        histories = [lab.together(policy, seed) for seed in range(seeds)]  # type: ignore[arg-type]
        for i in range(len(histories[0])):
            means = [
                float(np.mean([each[i].measures[name] for each in histories])) for name in names
            ]
            cells.append([title, i, *means])
    return Table("Iterations, on dev", columns, cells)


def estimator_table(lab: Lab, seed: int = 0) -> Table:
    """Bias and spread of the gradient that m selections give, against every selection counted."""
    reader = reader_of(lab.backbone, lab.reader(seed), lab.settings)
    asked = [each.first(_FEW) for each in lab.bed.dev if len(each.passages) >= _FEW][:_ESTIMATED]
    shares = SpanLikelihood(reader).shares(
        [each.question for each in asked],
        [each.passages for each in asked],
        [each.answers for each in asked],
    )
    # A selector that knows a little: the first candidates are likelier.
    counted = Counted.of(-0.5 * torch.arange(_FEW), _CHOSEN)
    log_likelihoods = [
        set_log_likelihood(
            torch.from_numpy(s.answer), torch.from_numpy(s.all), counted.selections, log_c=0.0
        )
        for s in shares
    ]
    told = [each for each in log_likelihoods if torch.isfinite(each).any()]
    columns: list[Column | str] = [Column("m", decimals=0), "weights"]
    columns += [Column(name, decimals=2) for name in ("bias", "deviation", "cosine")]
    cells: list[list[Cell]] = []
    for m in SAMPLES:
        for weights, centre in (("as they are", False), ("centred", True)):
            found = mean_spread([counted.spread(each, m, centre=centre) for each in told])
            cells.append([m, weights, found.bias, found.deviation, found.cosine])
    note = (
        f"Medians over {len(told)} dev questions of {_FEW} candidates, {_CHOSEN} chosen, as shares of the "
        "exact gradient's length; cosine of a single estimate with it. Ours has the exact gradient."
    )
    return Table("The gradient of m drawn selections", columns, cells, [note])
