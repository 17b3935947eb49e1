"""Reading: EM, F1 and calibration of a span reader on questions with their own context."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pointsman.data.squad import read_squad
from pointsman.data.testbed import READING_SETS
from pointsman.errors import InputError
from pointsman.evaluate.calibration import adaptive_ece, brier, ece, risk_coverage
from pointsman.evaluate.significance import bootstrap_interval
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Report, Show, silent
from pointsman.read.reader import SpanReader
from pointsman.read.task import read_own_context, score_readings
from pointsman.types import Reading, ReadingExample

# What the shipped reader is reported on; policyqa is of another kind of text than any it was
# trained on.
TEST_SETS = ("squad-articles", "squadshifts-newwiki", "squadshifts-amazon", "nq-oracle", "policyqa")
_TOGETHER = 256


def run(
    data: Path,
    reader: SpanReader,
    *,
    sets: Sequence[str] | None = None,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    show: Show | None = None,
) -> Report:
    """Read a SQuAD file, or the named sets of a test bed; `limit` bounds the questions of each."""
    show = show or silent
    rows: list[list[Cell]] = []
    calibration: list[list[Cell]] = []
    for name, examples in load(data, sets, split).items():
        if limit is not None and limit < len(examples):
            examples = random.Random(seed).sample(examples, limit)
        readings: list[Reading] = []
        for start in range(0, len(examples), _TOGETHER):
            readings += read_own_context(reader, examples[start : start + _TOGETHER])
            show(f"{name}: reading", len(readings), len(examples))
        scores = score_readings(examples, readings)
        rows.append(
            [
                name,
                len(examples),
                len(set(scores.clusters)),
                bootstrap_interval(scores.em, scores.clusters, seed=seed),
                bootstrap_interval(scores.f1, scores.clusters, seed=seed),
            ]
        )
        confidence = np.array([reading.confidence for reading in readings])
        calibration.append(
            [
                name,
                float(confidence.mean()),
                scores.mean_em,
                ece(confidence, scores.em),
                adaptive_ece(confidence, scores.em),
                brier(confidence, scores.em),
                risk_coverage(confidence, scores.em).area,
            ]
        )
    tables = (
        Table(
            f"Reading, {split}: the question with its own context",
            [
                "set",
                "questions",
                "clusters",
                Column("EM", scale=100),
                Column("F1", scale=100),
            ],
            rows,
            [
                "EM and F1 × 100 as the official SQuAD measures; intervals: 95 % bootstrap over "
                "articles, products or papers."
            ],
        ),
        Table(
            f"Confidence against exact match, {split}",
            [
                "set",
                Column("mean confidence", 3),
                Column("EM", 3),
                Column("ECE", 3),
                Column("adaptive ECE", 3),
                Column("Brier", 3),
                Column("AURC", 3),
            ],
            calibration,
            ["AURC: area under the risk-coverage curve, lower is better."],
        ),
    )
    return Report(tables, {"split": split, "reader": reader.settings})


def load(data: Path, sets: Sequence[str] | None, split: str) -> Mapping[str, list[ReadingExample]]:
    """Name -> examples: of one SQuAD file, or of a test bed's sets."""
    if data.is_file():
        return {data.stem: list(read_squad(data))}
    if not (data / "squad").is_dir():
        raise InputError(f"{data}: neither a SQuAD file nor a test bed with squad/ in it")
    known = {each.name: each for each in READING_SETS}
    loaded = {}
    for name in sets or TEST_SETS:
        if name in known:
            loaded[name] = known[name].read(data, split)
        else:
            loaded[name] = list(read_squad(data / "squad" / f"{name}-{split}.json"))
    return loaded
