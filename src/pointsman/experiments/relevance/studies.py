"""Studies that train nothing more: what was picked, how sure graders are, single raters, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import entr
from scipy.stats import spearmanr

from pointsman.data.draw import drawn
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

# Ratings whose spread is below this may all be the same: means are rounded to hundredths.
_AGREED = 0.1


def what_was_picked(rows: Rows, seed: int = 0) -> Table:
    """Of each way of picking: how many queries, how far from training, how unsure, which grades."""
    graders, bed = rows.graders, rows.graders.bed
    plain = Run(seed=seed)
    own, distances = rows.distances(plain, "neighbours")
    far = window(own, 0.9).inside(distances)
    entropy = entr(graders.of_pool(plain)).sum(axis=1)
    known = {query for query, _ in bed.train.texts}
    names, texts = bed.grading.names, bed.pool_texts
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
        queries = {texts[i][0] for i in places.tolist()}
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


def page_of_picks(rows: Rows, way: str = "DASA by both", count: int = 40, seed: int = 0) -> str:
    """Some of what a way of picking took, to be looked at: Markdown with the pairs' own texts.

    A share says how many of the training pairs are nearer to the others than the pair is to them.
    """
    graders, bed = rows.graders, rows.graders.bed
    plain = Run(seed=seed)
    places = np.array(rows.picked(seed, way))
    some = places[drawn(len(places), count, seed)]
    labels, texts = bed.picked(some).labels, bed.pool_texts
    said = graders.of_pool(plain)[some]
    shares = []
    for kind in ("mahalanobis", "neighbours"):
        own, of_pool = rows.distances(plain, kind)
        shares.append(np.searchsorted(np.sort(own), of_pool[some]) / len(own))
    lines = [
        f"# {way}: {len(some)} of {len(places):,} pairs",
        "",
        "| query | item | people | plain grader | Mahalanobis | neighbours |",
        "|---|---|---|---|---|---|",
    ]
    for place, label, p, *far in zip(some.tolist(), labels.tolist(), said, *shares, strict=True):
        query, item = (text.replace("|", "/") for text in texts[place])
        names = bed.grading.names
        guess = f"{names[int(p.argmax())]} {p.max():.2f}"
        nearer = " | ".join(f"{share:.2f}" for share in far)
        lines.append(f"| {query} | {item} | {names[label]} | {guess} | {nearer} |")
    return "\n".join(lines) + "\n"


def against_raters(
    said: Sequence[FloatArray], sample: Sample, train: Sample, *, same_scale: bool = True
) -> Table:
    """The model and a single rater beside the raters' mean, by how much the raters disagree.

    The model's score is the mean of the training pairs' scores of each grade, weighed by its
    probabilities; it has an error only where the sample's raters used that scale.
    """
    p = np.mean(said, axis=0)
    levels = [train.scores[train.labels == grade].mean() for grade in range(p.shape[1])]
    scores = p @ np.array(levels)
    columns: list[Column | str] = [
        "raters",
        "pairs",
        Column("Spearman's ρ", decimals=3),
        Column("model, RMSE", decimals=3),
        Column("single rater, RMSE", decimals=3),
    ]
    agreed = sample.spreads < _AGREED
    cells: list[list[Cell]] = []
    for name, these in (("may agree", agreed), ("disagree", ~agreed), ("all", agreed | ~agreed)):
        line: list[Cell] = [name, int(these.sum()), None, None, None]
        if len(np.unique(sample.scores[these])) > 1:
            line[2] = float(spearmanr(scores[these], sample.scores[these]).statistic)
        if these.any():
            if same_scale:
                line[3] = float(np.sqrt(np.mean((scores[these] - sample.scores[these]) ** 2)))
            line[4] = float(np.sqrt(np.mean(sample.spreads[these] ** 2)))
        cells.append(line)
    note = (
        "A single rater's error is what ratings of that mean must have at least."
        if same_scale
        else "A single rater's error is the spread of the ratings that the source gives."
    )
    return Table(f"The model against its raters, {sample.name}", columns, cells, [note])


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
