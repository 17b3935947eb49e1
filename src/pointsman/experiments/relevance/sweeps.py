"""Studies that train more graders: how many labels, of which pairs, in which grades, given by whom.

By the first seed; a line is one grader on both of Home Depot's test parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pointsman.evaluate.classification import bootstrap, macro_f1
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.relevance import pictures
from pointsman.experiments.relevance.bed import Sample
from pointsman.experiments.relevance.graders import Run
from pointsman.experiments.relevance.measures import measured
from pointsman.experiments.relevance.rows import Rows
from pointsman.grade.acquire import QUANTILES
from pointsman.grade.augment import window
from pointsman.grade.decision import Decision

BUDGETS = (0.01, 0.02, 0.05, 0.10, 0.20)
"""Shares of the pool."""
WAYS = ("random", "DASA by both", "coverage")
FAR = 0.9
"""A pool pair farther than this quantile of training pairs counts as out of distribution."""

Line = tuple[Sequence[Cell], Run]
"""What a line of a table begins with, and the grader that it measures."""

_SHARES = (0.0, 0.5, 1.0)
_CUTS = ((0.0, 0.5), QUANTILES, (0.9, 1.0))


def all_sweeps(rows: Rows, draw: Path | None) -> list[Table]:
    """Every study; `draw` is the stem of the picture of budgets."""
    return [
        budgets(rows, draw),
        shares_of_ood(rows),
        cut_offs(rows),
        finer_grades(rows),
        automatic_labels(rows),
    ]


def budgets(rows: Rows, draw: Path | None) -> Table:
    """Each way of picking with 1 to 20 % of the pool's labels."""
    pool, plain = len(rows.graders.bed.pool), Run()
    runs = {("none", 0): plain}
    for way in WAYS:
        for share in BUDGETS:
            count = max(1, round(share * pool))
            runs[way, count] = replace(plain, picked=rows.picked(0, way, count))
    runs["all", pool] = replace(plain, picked=tuple(range(pool)))
    lines: list[Line] = [([way, count], run) for (way, count), run in runs.items()]
    if draw is not None:
        _draw(rows, runs, draw.with_name(f"{draw.name}-budgets.svg"))
    return _table(rows, "Labels and what they buy", ["picked by", _count("labels")], lines)


def shares_of_ood(rows: Rows) -> Table:
    """As many labels of pairs unlike training, of pairs like it, and of half of each."""
    own, distances = rows.distances(Run(), "neighbours")
    far = window(own, FAR).inside(distances)
    order = np.random.default_rng(0).permutation(len(far))
    lines: list[Line] = []
    for share in _SHARES:
        count = min(round(share * rows.budget), int(far.sum()))
        chosen = (order[far[order]][:count], order[~far[order]][: rows.budget - count])
        places = np.sort(np.concatenate(chosen))
        line = [float(far[places].mean()), len(places)]
        lines.append((line, Run(picked=tuple(places.tolist()))))
    head = [Column("out of distribution, %", decimals=0, scale=100), _count("labels")]
    note = (
        f"Out of distribution: farther than {FAR:.0%} of training pairs from their tenth nearest."
    )
    return _table(rows, "How many of the labels are out of distribution", head, lines, [note])


def cut_offs(rows: Rows) -> Table:
    """DASA by both distances, its window at other quantiles of the training distances."""
    lines = [
        (
            [f"{low:g} to {high:g}"],
            Run(picked=rows.picked(0, "DASA by both", quantiles=(low, high))),
        )
        for low, high in _CUTS
    ]
    return _table(rows, "DASA's cut-offs", ["quantiles of training distances"], lines)


def finer_grades(rows: Rows) -> Table:
    """Three grades, and all seven of the raters' scale summed to the three."""
    lines = [([name], Run(fine=fine)) for name, fine in (("three", False), ("seven", True))]
    return _table(rows, "Three grades or seven", ["grades learned"], lines)


def automatic_labels(rows: Rows) -> Table:
    """The pairs that coverage picks, labelled by people or by the grader that has no label of them."""
    picked = rows.picked(0, "coverage")
    lines = [
        (["none"], Run()),
        (["people"], Run(picked=picked)),
        (["the plain grader"], Run(taught=picked)),
    ]
    return _table(rows, "Automatic labels", ["labels by"], lines)


def _table(
    rows: Rows,
    title: str,
    head: Sequence[Column | str],
    lines: Iterable[Line],
    notes: Sequence[str] = (),
) -> Table:
    columns: list[Column | str] = list(head)
    tests = (rows.graders.bed.id_test, rows.graders.bed.ood_test)
    for sample in tests:
        columns += [
            Column(f"{sample.name}: macro-F1", scale=100),
            Column(f"{sample.name}: by thresholds", scale=100),
            Column(f"{sample.name}: NLL", decimals=3),
        ]
    cells: list[list[Cell]] = []
    for start, run in lines:
        line = list(start)
        says, decision = rows.said(run), _decision(rows, run)
        for sample in tests:
            found = measured(sample, says(sample), decision)
            line += [found["macro-F1"], found["by thresholds"], found["NLL"]]
        cells.append(line)
    return Table(title, columns, cells, ["The first seed.", *notes])


def _decision(rows: Rows, run: Run) -> Decision:
    """The thresholds that dev chooses for a grader."""
    dev = rows.graders.bed.id_dev
    return Decision.fit(rows.said(run)(dev), dev.labels)


def _draw(rows: Rows, runs: Mapping[tuple[str, int], Run], path: Path) -> None:
    tests = (rows.graders.bed.id_test, rows.graders.bed.ood_test)
    none = runs["none", 0]
    decisions = {run: _decision(rows, run) for run in runs.values()}
    curves: dict[str, dict[str, dict[float, tuple[float, float, float]]]] = {}
    for sample in tests:
        points = {run: _point(rows, run, sample, each) for run, each in decisions.items()}
        lines = curves.setdefault(sample.name, {})
        for (way, count), run in runs.items():
            if way in WAYS:
                lines.setdefault(way, {0: points[none]})[count] = points[run]
    pictures.budget_curves(curves, path, y="macro-F1 by thresholds, %")


def _point(rows: Rows, run: Run, sample: Sample, decision: Decision) -> tuple[float, float, float]:
    said = rows.said(run)(sample)
    found = bootstrap(
        macro_f1,
        sample.labels,
        decision.grades(said),
        classes=said.shape[1],
        groups=sample.queries,
    )
    return 100 * found.value, 100 * found.low, 100 * found.high


def _count(name: str) -> Column:
    return Column(name, decimals=0)
