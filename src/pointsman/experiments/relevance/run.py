"""The relevance experiment as a whole: load, train, pick, measure. Every step is kept and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.errors import InputError
from pointsman.evaluate.classification import bootstrap, macro_f1
from pointsman.evaluate.significance import Interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.relevance.bed import Bed, Sample, load
from pointsman.experiments.relevance.graders import Graders, Run
from pointsman.experiments.relevance.measures import MEASURES, measured
from pointsman.experiments.relevance.rows import Row, Rows
from pointsman.experiments.relevance.studies import (
    against_raters,
    conformal_sets,
    draw_all,
    what_was_picked,
)
from pointsman.experiments.relevance.sweeps import all_sweeps
from pointsman.experiments.report import Report, Show, silent
from pointsman.grade.decision import Decision
from pointsman.grade.objective import Objective
from pointsman.grade.recipe import ALPHAS, Recipe
from pointsman.grade.shift import estimate
from pointsman.training.loop import Plan
from pointsman.types import FloatArray

RECIPE = Recipe(
    batch_size=64,
    max_length=128,
    # The lower half stays as it is: its states of all pairs are made once for all graders.
    from_layer=3,
    probed=6_000,
    plan=Plan(measure="macro_f1", epochs=1, learning_rate=7e-4, evaluations=1),
)

OCC_CHOICES = tuple(
    Objective(occ=weight, rho=rho, direction="reverse", ordinal=True)
    for weight, rho in ((0.1, 0.3), (0.3, 0.1), (0.3, 0.3), (0.3, 0.6), (1.0, 0.3))
)
"""The λ and ρ that dev chooses from."""

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


def run(
    data: Path,
    backbone: Backbone,
    folder: Path,
    *,
    recipe: Recipe = RECIPE,
    seeds: int = 5,
    limit: int | None = None,
    only: Sequence[str] | None = None,
    studies: bool = True,
    draw: Path | None = None,
    show: Show | None = None,
) -> Report:
    """All rows on Home Depot's test parts and on another shop, by so many seeds.

    `folder` keeps graders and what they say; the same call goes on from there. `limit` bounds the
    queries of each part. `only` names the rows, and leaves out all studies and the pictures, which are
    written where `draw` says; without `studies` those are left out that train more graders.
    """
    show = show or silent
    recipe = recipe.on(backbone)
    bed = load(data, lambda queries: backbone.encode(queries, prompt="query"), limit)
    graders = Graders(bed, backbone, recipe, folder / "runs", ArrayCache(folder / "said"), show)
    with backbone.keeping_pairs(recipe.from_layer):
        return _report(graders, seeds, only, studies, draw, show)


def _report(
    graders: Graders,
    seeds: int,
    only: Sequence[str] | None,
    studies: bool,
    draw: Path | None,
    show: Show,
) -> Report:
    bed = graders.bed
    names = [row.name for row in _named(Rows(graders, OCC_CHOICES[0]).all(), only)]
    occ, choices = choose_occ(graders)
    made = Rows(graders, occ)
    rows = _named(made.all(), names)
    samples = (bed.id_dev, bed.id_test, bed.ood_test, bed.shop)
    found = []
    for i, row in enumerate(rows):
        show(f"row: {row.name}", i, len(rows))
        said: dict[str, list[FloatArray]] = {s.name: [] for s in samples}
        for seed in range(seeds):
            predict = row.predictor(seed)
            for s in samples:
                said[s.name].append(predict(s))
        found.append(Measured(row, said, bed.id_dev))
    times = "1 seed" if seeds == 1 else f"{seeds} seeds"
    tables = [
        *(main_table(f"{title}, {times}", sample, found) for title, sample in _titled(bed)),
        shift_table(bed, found),
        *(difference_table(title, sample, found) for title, sample in _titled(bed)[:2]),
        choices,
    ]
    if only is None:
        tables += [path_table(made, seeds), *_studies(made, seeds)]
        if studies:
            tables += all_sweeps(made, draw)
        if draw is not None:
            draw_all(made, draw)
    details = {
        "recipe": graders.recipe,
        "occ": asdict(occ),
        "pairs": {each.name: len(each) for each in (bed.train, *bed.samples())},
        "pool": len(bed.pool),
    }
    return Report(tuple(tables), details)


def _studies(rows: Rows, seeds: int) -> list[Table]:
    bed = rows.graders.bed
    plain = [rows.said(Run(seed=seed)) for seed in range(seeds)]
    dev = [says(bed.id_dev) for says in plain]
    tests = (bed.id_test, bed.ood_test)
    return [
        what_was_picked(rows),
        *(against_raters([says(sample) for says in plain], sample, bed.train) for sample in tests),
        against_raters([says(bed.shop) for says in plain], bed.shop, bed.train, same_scale=False),
        *(
            conformal_sets([says(sample) for says in plain], dev, sample, bed.id_dev)
            for sample in tests
        ),
    ]


def _named(rows: Sequence[Row], only: Sequence[str] | None) -> list[Row]:
    """All rows, or those that are named. Raises InputError for a name that no row has."""
    names = [row.name for row in rows]
    for name in only or []:
        if name not in names:
            raise InputError(f"there is no row {name!r}; there are {', '.join(names)}")
    return [row for row in rows if only is None or row.name in only]


def choose_occ(graders: Graders) -> tuple[Objective, Table]:
    """The λ and ρ of the best likelihood on id_dev and held-out topics together, by the first seed."""
    bed, cells, best = graders.bed, [], {}
    for objective in OCC_CHOICES:
        line: list[Cell] = [f"{objective.occ:g}", f"{objective.rho:g}"]
        scores = []
        for sample in (bed.id_dev, bed.shifted):
            said = graders.probabilities(Run(objective), sample)
            found = measured(sample, said, Decision.fit(said, sample.labels))
            line += [found["macro-F1"], found["ECE"], found["NLL"]]
            scores.append(found["NLL"])
        best[objective] = float(np.mean(scores))
        cells.append(line)
    columns: list[Column | str] = ["λ", "ρ"]
    for name in ("id_dev", "held-out topics"):
        columns += [
            Column(f"{name}: macro-F1", scale=100),
            Column(f"{name}: ECE", decimals=3),
            Column(f"{name}: NLL", decimals=3),
        ]
    note = "KL(p ‖ prior), ordinal prior. The least mean NLL of both is used."
    return min(best, key=best.__getitem__), Table("OCC's choices on dev", columns, cells, [note])


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


def shift_table(bed: Bed, rows: Sequence[Measured]) -> Table:
    """The other shop before and after its shares of grades are estimated by EM."""
    names = ("macro-F1", "ECE", "NLL")
    columns: list[Column | str] = ["row"]
    for when in ("before", "after"):
        columns += [
            Column(
                f"{when}: {name}",
                decimals=1 if name == "macro-F1" else 3,
                scale=100 if name == "macro-F1" else 1,
            )
            for name in names
        ]
    prior = np.bincount(bed.train.labels, minlength=len(bed.grading.names)) / len(bed.train)
    cells: list[list[Cell]] = []
    for each in rows:
        before = each.said[bed.shop.name]
        after = [np.asarray(estimate(p, prior).probabilities, dtype=np.float32) for p in before]
        line: list[Cell] = [each.row.name]
        for said in (before, after):
            pairs = zip(said, each.decisions, strict=True)
            found = [measured(bed.shop, p, decision) for p, decision in pairs]
            line += [float(np.mean([one[name] for one in found])) for name in names]
        cells.append(line)
    note = "No label of the other shop is used: the shares are those that the probabilities imply."
    return Table("Another shop, before and after label-shift correction", columns, cells, [note])


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


def path_table(rows: Rows, seeds: int) -> Table:
    """Macro-F1 and likelihood along the path from probe to fine-tuned grader."""
    bed = rows.graders.bed
    samples = (bed.id_dev, bed.shifted, bed.id_test, bed.ood_test, bed.shop)
    columns: list[Column | str] = ["α"]
    columns += [Column(f"{s.name}: by thresholds", scale=100) for s in samples]
    columns += [Column(f"{s.name}: NLL", decimals=3) for s in samples]
    cells: list[list[Cell]] = []
    for alpha in ALPHAS:
        found: dict[str, list[dict[str, float]]] = {s.name: [] for s in samples}
        for seed in range(seeds):
            says = rows.said(Run(probing=True, seed=seed), alpha)
            decision = Decision.fit(says(bed.id_dev), bed.id_dev.labels)
            for s in samples:
                found[s.name].append(measured(s, says(s), decision))
        line: list[Cell] = [f"{alpha:g}"]
        for name in ("by thresholds", "NLL"):
            line += [float(np.mean([one[name] for one in found[s.name]])) for s in samples]
        cells.append(line)
    return Table("From the probe (α = 0) to the fine-tuned grader (1)", columns, cells)


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


def _titled(bed: Bed) -> list[tuple[str, Sample]]:
    return [
        ("Known topics (id_test)", bed.id_test),
        ("Unknown topics (ood_test)", bed.ood_test),
        ("Another shop", bed.shop),
    ]
