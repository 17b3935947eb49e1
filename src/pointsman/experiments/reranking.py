"""Retrieval alone against retrieval and a grader: the order, what it costs, and what relevance means."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.data.beir import splits
from pointsman.data.sources import open_source, passages
from pointsman.errors import InputError
from pointsman.evaluate.calibration import ece
from pointsman.evaluate.retrieval import evaluate_run
from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Report, Show, silent
from pointsman.experiments.retrieval import Ranking, Rankings, rank, set_folders
from pointsman.grade.pairwise import PairwiseGrader
from pointsman.grade.relevance import best_first, expected_relevance
from pointsman.retrieve.fusion import Fusion
from pointsman.types import FloatArray

MEASURE = "nDCG@10"
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""What relevance could count for in the order; dev decides."""


@dataclass(frozen=True, eq=False)
class Graded:
    """A set's queries with their candidates, best first by retrieval, and what a grader says of them.

    `probabilities` has one array [candidates, G] a query; `seconds` is grading's time a query.
    """

    ranked: Rankings
    candidates: Sequence[Ranking]
    probabilities: Sequence[FloatArray]
    seconds: float

    def scores(self, weight: float) -> npt.NDArray[np.float64]:
        """nDCG@10 of each query, relevance counting `weight` in the order; 0 is retrieval alone."""
        run = {}
        for query, found, p in zip(
            self.ranked.queries, self.candidates, self.probabilities, strict=True
        ):
            order = best_first(expected_relevance(p), [score for _, score in found], weight)
            run[query.id] = {found[i][0]: float(-place) for place, i in enumerate(order.tolist())}
        return evaluate_run(self.ranked.qrels, run, [MEASURE])[MEASURE]

    def relevant(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The probability of the highest grade, and whether a person judged so, of all candidates."""
        said = np.concatenate([p[:, -1] for p in self.probabilities]).astype(np.float64)
        judged = [
            float(self.ranked.qrels[query.id].get(id, 0) > 0)
            for query, found in zip(self.ranked.queries, self.candidates, strict=True)
            for id, _ in found
        ]
        return np.clip(said, 0, 1), np.array(judged)


def run(
    data: Path,
    backbone: Backbone,
    grader: PairwiseGrader,
    *,
    sets: Sequence[str] | None = None,
    split: str = "test",
    candidates: int = 20,
    weight: float = 0.7,
    limit: int | None = None,
    seed: int = 0,
    show: Show | None = None,
) -> Report:
    """Measure a BEIR directory, or the named sets of a test bed (all thirteen by default).

    `candidates` of hybrid search are graded for every query. On dev all WEIGHTS are shown. Raises
    InputError where no set has the split.
    """
    show = show or silent
    folders = set_folders(data, sets)
    there = {name: folder for name, folder in folders.items() if split in splits(folder)}
    if not there:
        raise InputError(f"{data}: no judgements for {split!r} in any of {', '.join(folders)}")
    found = [
        graded(name, folder, backbone, grader, split, candidates, limit, seed, show)
        for name, folder in there.items()
    ]
    tables = [_table(found, weight, split, candidates)]
    if split == "dev":
        tables.append(_weights(found))
    return Report(tuple(tables), {"split": split, "weight": weight, "candidates": candidates})


def graded(
    name: str,
    folder: Path,
    backbone: Backbone,
    grader: PairwiseGrader,
    split: str,
    candidates: int,
    limit: int | None,
    seed: int,
    show: Show,
) -> Graded:
    """Search a collection, and grade what is found."""
    ranked = rank(name, folder, backbone, split, limit, seed, show)
    fusion = Fusion()
    each = [fusion.fuse(*both)[:candidates] for both in zip(ranked.dense, ranked.bm25, strict=True)]
    wanted = {id for found in each for id, _ in found}
    texts = {
        passage.id: passage.content
        for passage in passages(open_source(folder))
        if passage.id in wanted
    }
    said, started = [], time.perf_counter()
    for i, (query, found) in enumerate(zip(ranked.queries, each, strict=True)):
        show(f"{name}: grading", i, len(each))
        said.append(grader.probabilities([(query.text, texts[id]) for id, _ in found]))
    seconds = (time.perf_counter() - started) / max(1, len(each))
    return Graded(ranked, each, said, seconds)


def _table(found: Sequence[Graded], weight: float, split: str, candidates: int) -> Table:
    columns: list[Column | str] = ["set", "queries"]
    columns += [Column("hybrid", scale=100), Column("graded", scale=100)]
    columns += [Column("difference", decimals=2, scale=100), "p"]
    columns += [Column("ECE of the highest grade", decimals=3)]
    columns += [Column("ms a question", decimals=0, scale=1000)]
    cells: list[list[Cell]] = []
    for each in found:
        before, after = each.scores(0.0), each.scores(weight)
        cells.append(
            [
                each.ranked.name,
                len(before),
                float(before.mean()),
                float(after.mean()),
                bootstrap_interval(after - before),
                f"{paired_randomisation(after, before).p_value:.4f}",
                ece(*each.relevant()),
                each.seconds,
            ]
        )
    if len(found) > 1:
        means = [float(np.mean([float(row[i]) for row in cells])) for i in (2, 3)]  # type: ignore[arg-type]
        cells.append(["mean", None, *means, None, "", None, None])
    notes = [
        f"{candidates} candidates of hybrid search by the base are graded; relevance counts "
        f"{weight:g} in the order, the fused score the rest.",
        "Difference: 95 % bootstrap interval over queries; p: paired randomisation, two-sided.",
        "ECE: the probability of the highest grade against being judged relevant. Candidates that "
        "nobody judged count as not relevant, so it is an upper bound where judgements are few.",
    ]
    return Table(f"{MEASURE} × 100, {split}: retrieval alone and graded", columns, cells, notes)


def _weights(found: Sequence[Graded]) -> Table:
    columns: list[Column | str] = ["weight of relevance", Column("mean", decimals=2, scale=100)]
    columns += [Column(each.ranked.name, scale=100) for each in found]
    cells: list[list[Cell]] = []
    for weight in WEIGHTS:
        means = [float(each.scores(weight).mean()) for each in found]
        cells.append([f"{weight:g}", float(np.mean(means)), *means])
    return Table(f"Weights of relevance: {MEASURE} × 100", columns, cells)
