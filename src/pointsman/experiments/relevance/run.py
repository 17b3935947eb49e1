"""The relevance experiment as a whole: load, train, pick, measure. Every step is kept and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.relevance.bed import Bed, Sample, load
from pointsman.experiments.relevance.graders import Graders, Run
from pointsman.experiments.relevance.measures import measured
from pointsman.experiments.relevance.rows import Rows
from pointsman.experiments.relevance.shifts import shift_tables
from pointsman.experiments.relevance.studies import (
    against_raters,
    conformal_sets,
    draw_all,
    page_of_picks,
    what_was_picked,
)
from pointsman.experiments.relevance.sweeps import all_sweeps
from pointsman.experiments.relevance.tables import (
    Measured,
    difference_table,
    main_table,
    path_table,
)
from pointsman.experiments.report import Report, Show, named, silent
from pointsman.grade.decision import Decision
from pointsman.grade.objective import Objective
from pointsman.grade.recipe import Recipe
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
    picked: Path | None = None,
    show: Show | None = None,
) -> Report:
    """All rows on Home Depot's test parts and on another shop, by so many seeds.

    `folder` keeps graders and what they say; the same call goes on from there. `limit` bounds the
    queries of each part. `only` names the rows, and leaves out all studies and the pictures, which are
    written where `draw` says; without `studies` those are left out that train more graders. `picked` is
    where a page of what DASA took is written, with its texts.
    """
    show = show or silent
    recipe = recipe.on(backbone)
    bed = load(data, lambda queries: backbone.encode(queries, prompt="query"), limit)
    graders = Graders(bed, backbone, recipe, folder / "runs", ArrayCache(folder / "said"), show)
    with backbone.keeping_pairs(recipe.from_layer):
        return _report(graders, seeds, only, studies, draw, picked, show)


def _report(
    graders: Graders,
    seeds: int,
    only: Sequence[str] | None,
    studies: bool,
    draw: Path | None,
    picked: Path | None,
    show: Show,
) -> Report:
    bed = graders.bed
    first = Rows(graders, OCC_CHOICES[0])
    names = [row.name for row in named(first.all(), only)]
    if picked is not None:
        picked.write_text(page_of_picks(first), encoding="utf-8")
    occ, choices = choose_occ(graders)
    made = Rows(graders, occ)
    rows = named(made.all(), names)
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
        *shift_tables(bed, found),
        *(difference_table(title, sample, found) for title, sample in _titled(bed)[:2]),
        choices,
    ]
    if only is None:
        tables += [path_table(made), *_studies(made, seeds)]
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


def _titled(bed: Bed) -> list[tuple[str, Sample]]:
    return [
        ("Known topics (id_test)", bed.id_test),
        ("Unknown topics (ood_test)", bed.ood_test),
        ("Another shop", bed.shop),
    ]
