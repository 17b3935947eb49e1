"""Studies that train nothing more: what was picked, how sure graders are, single raters, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import entr
from scipy.stats import spearmanr

from pointsman.evaluate.calibration import reliability, top_label
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.relevance import pictures
from pointsman.experiments.relevance.bed import Sample
from pointsman.experiments.relevance.graders import Run
from pointsman.experiments.relevance.rows import PICKS, Rows
from pointsman.grade.augment import window
from pointsman.grade.conformal import Conformal
from pointsman.grade.recipe import ALPHAS
from pointsman.types import FloatArray


def what_was_picked(rows: Rows, seed: int = 0) -> Table:
    """Of each way of picking: how many queries, how far from training, how unsure, which grades."""
    graders, bed = rows.graders, rows.graders.bed
    plain = Run(seed=seed)
    own, distances = rows.distances(plain, "neighbours")
    far = window(own, 0.9).inside(distances)
    entropy = entr(graders.of_pool(plain)).sum(axis=1)
    known = {query for query, _ in bed.train.texts}
    names = bed.grading.names
    columns: list[Column | str] = [
        "picked by",
        "pairs",
        "queries",
        Column("farther than 90 % of training, %", scale=100),
        Column("mean entropy, nats", decimals=3),
        *(Column(f"{name}, %", scale=100) for name in names),
    ]
    cells: list[list[Cell]] = []
    for name in PICKS:
        places = np.array(rows.picked(seed, name))
        queries = {bed.pool_texts[i][0] for i in places.tolist()}
        assert not queries & known
        labels = bed.picked(places).labels
        shares = np.bincount(labels, minlength=len(names)) / len(labels)
        cells.append(
            [
                name,
                len(places),
                len(queries),
                float(far[places].mean()),
                float(entropy[places].mean()),
                *shares.tolist(),
            ]
        )
    notes = ["Distances: to the tenth nearest training pair, by the plain grader's features."]
    return Table("What was picked", columns, cells, notes)


def against_raters(said: Sequence[FloatArray], sample: Sample) -> Table:
    """Expected relevance beside the mean of the raters, by how much these disagree.

    A mean that lies between two grades of the raters' scale cannot have been unanimous.
    """
    relevance = np.mean([p @ np.arange(p.shape[1]) for p in said], axis=0)
    whole = np.isclose(sample.scores, np.round(sample.scores))
    columns: list[Column | str] = [
        "raters",
        "pairs",
        Column("Spearman's ρ", decimals=3),
        Column("mean expected grade", decimals=2),
    ]
    cells: list[list[Cell]] = []
    for name, these in (("may agree", whole), ("disagree", ~whole), ("all", whole | ~whole)):
        line: list[Cell] = [name, int(these.sum()), None, None]
        if len(np.unique(sample.scores[these])) > 1:
            found = spearmanr(relevance[these], sample.scores[these]).statistic
            line[2:] = [float(found), float(relevance[these].mean())]
        cells.append(line)
    return Table(f"The model against its raters, {sample.name}", columns, cells)


def conformal_sets(
    said: Sequence[FloatArray], dev: Sequence[FloatArray], sample: Sample, on: Sample
) -> Table:
    """How often a set of grades fitted on dev at 90 % holds the true one elsewhere, and its size."""
    columns: list[Column | str] = [
        "score",
        Column(f"{sample.name}: coverage, %", scale=100),
        Column("mean size", decimals=2),
    ]
    cells: list[list[Cell]] = []
    for score in ("lac", "ordinal"):
        coverage, size = [], []
        for p, held in zip(said, dev, strict=True):
            sets = Conformal.fit(held, on.labels, 0.1, score).sets(p)
            coverage.append(sets[np.arange(len(sample)), sample.labels].mean())
            size.append(sets.sum(axis=1).mean())
        cells.append([score, float(np.mean(coverage)), float(np.mean(size))])
    return Table(f"Conformal sets at 90 %, fitted on id_dev: {sample.name}", columns, cells)


def draw_all(rows: Rows, stem: Path, seed: int = 0) -> None:
    """Pictures beside the tables: stem-reliability.svg, stem-entropy.svg, stem-path.svg."""
    bed, grades = rows.graders.bed, len(rows.graders.bed.grading.names)
    graders = {
        "plain": rows.said(Run(seed=seed)),
        "OCC": rows.said(Run(rows.occ, seed=seed)),
        "temperature": rows.cooled(Run(seed=seed)),
    }
    pictures.reliability_diagrams(
        {
            f"{name}, {sample.name}": reliability(*top_label(says(sample), sample.labels))
            for sample in (bed.id_test, bed.ood_test)
            for name, says in graders.items()
        },
        stem.with_name(f"{stem.name}-reliability.svg"),
    )
    pictures.entropy_histograms(
        {
            sample.name: {
                name: entr(graders[name](sample)).sum(axis=1) for name in ("plain", "OCC")
            }
            for sample in (bed.id_test, bed.ood_test)
        },
        grades,
        stem.with_name(f"{stem.name}-entropy.svg"),
    )
    run = Run(probing=True, seed=seed)
    curve = {
        sample.name: {alpha: (rows.macro_f1(run, sample, alpha),) * 3 for alpha in ALPHAS}
        for sample in (bed.shifted, bed.id_test, bed.ood_test, bed.shop)
    }
    pictures.interpolation_curves(
        {"from the probe to the fine-tuned grader": curve},
        stem.with_name(f"{stem.name}-path.svg"),
        y="macro-F1",
    )
