"""Questions that take several passages, asked of readers that never met one: who answers these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pointsman.data.multihop import MultihopQuestion, read_multihop
from pointsman.data.testbed import check_files
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.deferral.ablations import PRICE
from pointsman.experiments.deferral.bed import FOLDS
from pointsman.experiments.deferral.measured import outcome, utility
from pointsman.experiments.deferral.rows import (
    BEST,
    EVERYONE,
    NEAREST,
    ORACLE,
    OURS,
    SURROGATE,
    Fold,
    Learned,
    all_folds,
    decided,
    rows,
)
from pointsman.experiments.deferral.specialists import SETS, Asked, Specialists
from pointsman.read.joined import WORDS
from pointsman.read.likelihood import mentions
from pointsman.types import ReadingExample

TESTED = ("hotpotqa-dev500", "2wiki-dev164")
ROWS = (BEST, NEAREST, "logistic", SURROGATE, OURS, EVERYONE, ORACLE)
ELSEWHERE, HERE = "questions of one passage", "these, five-fold"


def several(own: Specialists, learned: Learned, data: Path, limit: int | None = None) -> Table:
    """What was learned on questions of one passage, and what is learned on these themselves.

    The context is a question's supporting paragraphs, one after the other. `limit` bounds each file.
    Raises InputError where a file is missing.
    """
    bed = own.bed(list(_questions(data, limit)))
    bed = replace(bed, folds=np.arange(len(bed)) % FOLDS)
    every = {row.name: row for row in rows(bed)}
    ways = {ELSEWHERE: [Fold.whole(learned, bed)], HERE: all_folds(bed, learned.seed)}
    clusters = bed.clusters.tolist()
    columns: list[Column | str] = [
        "row",
        "learned on",
        Column("EM", scale=100, decimals=2),
        Column("F1", scale=100, decimals=2),
        Column("cost", scale=100),
        Column("utility", scale=100, decimals=2),
        Column("utility against best single", scale=100, decimals=2),
    ]
    cells: list[list[Cell]] = []
    for what, folds in ways.items():
        found = {name: decided(bed, every[name], PRICE, folds) for name in ROWS}
        single = utility(bed, found[BEST], PRICE)
        for name, given in found.items():
            em, graded, cost = outcome(bed, given)
            worth = utility(bed, given, PRICE)
            line: list[Cell] = [name, what, float(em.mean()), float(graded.mean())]
            line += [float(cost.mean()), float(worth.mean())]
            cells.append([*line, bootstrap_interval(worth - single, clusters)])
    note = (
        f"{len(bed):,} questions of {' and '.join(TESTED)} whose answer stands in their supporting "
        f"paragraphs, which are the context; at price {PRICE:g}."
    )
    return Table(f"{bed.name}: questions that take several passages", columns, cells, [note])


def check_several(data: Path) -> None:
    """Raise InputError where a file is missing: early, before hours of training."""
    check_files(data, [_file(data, name) for name in TESTED])


def _file(data: Path, name: str) -> Path:
    return data / "multihop" / f"{name}.jsonl"


def _questions(data: Path, limit: int | None) -> Sequence[Asked]:
    """Those with an answer in their supporting paragraphs."""
    check_several(data)
    found = []
    for number, name in enumerate(TESTED, start=len(SETS)):
        file = _file(data, name)
        held = [each for each in map(_example, read_multihop(file)) if each is not None]
        found += [Asked(number, each) for each in held[:limit]]
    return found


def _example(asked: MultihopQuestion) -> ReadingExample | None:
    context = "\n".join(each.text for each in asked.paragraphs if each.is_supporting)
    # That a passage says "no" somewhere answers nothing.
    spans = mentions(context, [a for a in asked.answers if a.strip().lower() not in WORDS])
    if not spans:
        return None
    answers = tuple(context[start:end] for start, end in spans)
    starts = tuple(start for start, _ in spans)
    return ReadingExample(asked.id, asked.question, context, answers, starts, cluster=asked.id)
