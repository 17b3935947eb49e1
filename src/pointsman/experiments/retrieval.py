"""Retrieval on BEIR collections: dense, BM25 and hybrid, and which fusion dev prefers."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.beir import is_beir, judged_queries, splits
from pointsman.data.sources import open_source, passages
from pointsman.data.testbed import RETRIEVAL_SETS
from pointsman.errors import InputError
from pointsman.evaluate.retrieval import RetrievalScores, evaluate_run
from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.report import Report, Show, silent
from pointsman.retrieve.fusion import Fusion
from pointsman.retrieve.ingest import ingest
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import Hit, Qrels, Query

MODES = ("dense", "bm25", "hybrid")
DEPTH = 100
MEASURES = ("nDCG@10", "RR@10", "AP@100", "R@100", "P@10")

FUSIONS = (
    Fusion("rrf", 0.5),
    Fusion("rrf", 0.7),
    *(Fusion("weighted", weight) for weight in (0.5, 0.6, 0.7, 0.8, 0.9)),
)
"""What a hybrid search could be; dev decides."""

Ranking = list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Rankings:
    """Both sides' rankings of one set's queries, from which every fusion follows."""

    name: str
    documents: int
    queries: tuple[Query, ...]
    qrels: Qrels
    dense: tuple[Ranking, ...]
    bm25: tuple[Ranking, ...]

    def scores(self, mode: str, fusion: Fusion) -> RetrievalScores:
        """The measures of one mode."""
        if mode == "hybrid":
            ranked = [fusion.fuse(*both) for both in zip(self.dense, self.bm25, strict=True)]
        else:
            ranked = list(self.dense if mode == "dense" else self.bm25)
        run = {
            query.id: dict(ranking[:DEPTH])
            for query, ranking in zip(self.queries, ranked, strict=True)
        }
        return evaluate_run(self.qrels, run, MEASURES)


def run(
    data: Path,
    backbone: Backbone,
    *,
    sets: Sequence[str] | None = None,
    split: str = "test",
    modes: Sequence[str] = MODES,
    limit: int | None = None,
    seed: int = 0,
    fusion: Fusion | None = None,
    show: Show | None = None,
) -> Report:
    """Measure a BEIR directory, or the named sets of a test bed (all thirteen by default).

    `limit` bounds the queries of a set, drawn with `seed`. On dev, every fusion of `FUSIONS` is
    scored too. Sets without the split are left out and named.
    """
    show = show or silent
    fusion = fusion or Fusion()
    folders = set_folders(data, sets)
    with_split = {name: folder for name, folder in folders.items() if split in splits(folder)}
    if not with_split:
        raise InputError(f"{data}: no judgements for {split!r} in any of {', '.join(folders)}")
    ranked = [
        rank(name, folder, backbone, split, limit, seed, show)
        for name, folder in with_split.items()
    ]
    scored = {r.name: {mode: r.scores(mode, fusion) for mode in modes} for r in ranked}
    left_out = [name for name in folders if name not in with_split]
    tables = [_effectiveness(ranked, scored, modes, split, left_out)]
    tables += [_measure_table(scored, mode, split) for mode in modes]
    if split == "dev" and set(modes) >= {"dense", "bm25", "hybrid"}:
        tables.append(_fusion_table(ranked))
    details = {
        name: {mode: scores.means for mode, scores in by_mode.items()}
        for name, by_mode in scored.items()
    }
    return Report(tuple(tables), {"split": split, "fusion": fusion, "means": details})


def set_folders(data: Path, sets: Sequence[str] | None) -> dict[str, Path]:
    """Name -> BEIR directory. Raises InputError for a set that is not there."""
    if is_beir(data):
        return {data.resolve().name: data}
    names = list(sets or RETRIEVAL_SETS)
    missing = [name for name in names if not is_beir(data / "beir" / name)]
    if missing:
        raise InputError(
            f"{data}: neither a BEIR directory nor a test bed with beir/{missing[0]} in it"
        )
    return {name: data / "beir" / name for name in names}


def rank(
    name: str,
    folder: Path,
    backbone: Backbone,
    split: str,
    limit: int | None,
    seed: int,
    show: Show,
) -> Rankings:
    """Index a collection in a temporary directory and rank its judged queries both ways."""
    queries, qrels = judged_queries(folder, split)
    if limit is not None and limit < len(queries):
        queries = random.Random(seed).sample(queries, limit)
        qrels = {query.id: qrels[query.id] for query in queries}
    source = open_source(folder)
    total = sum(1 for _ in source.documents())
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-") as directory,
        LanceIndex.create(directory, backbone.identity) as index,
    ):
        ingest(
            index,
            backbone,
            passages(source),
            batch_size=4096,
            progress=lambda done: show(f"{name}: encoding", done, total),
        )
        texts = [query.text for query in queries]
        show(f"{name}: searching", 0, len(queries))
        vectors = backbone.encode(texts, prompt="query")
        dense = [_ranking(hits) for hits in index.search(vectors, DEPTH)]
        bm25 = [_ranking(hits) for hits in index.search(None, DEPTH, text=texts)]
        show(f"{name}: searching", len(queries), len(queries))
        documents = len(index)
    return Rankings(name, documents, tuple(queries), qrels, tuple(dense), tuple(bm25))


def _ranking(hits: Sequence[Hit]) -> Ranking:
    return [(hit.passage.id, hit.score) for hit in hits]


def _effectiveness(
    ranked: Sequence[Rankings],
    scored: Mapping[str, Mapping[str, RetrievalScores]],
    modes: Sequence[str],
    split: str,
    left_out: Sequence[str],
) -> Table:
    rows: list[list[Cell]] = []
    for r in ranked:
        by_mode = scored[r.name]
        row: list[Cell] = [r.name, r.documents, len(r.queries)]
        row += [bootstrap_interval(by_mode[mode]["nDCG@10"]) for mode in modes]
        if "dense" in modes and "hybrid" in modes:
            test = paired_randomisation(by_mode["hybrid"]["nDCG@10"], by_mode["dense"]["nDCG@10"])
            row += [test.difference, f"{test.p_value:.4f}"]
        rows.append(row)
    paired = ["hybrid - dense", "p"] if "dense" in modes and "hybrid" in modes else []
    if len(ranked) > 1:
        means = [float(np.mean([scored[r.name][m].mean("nDCG@10") for r in ranked])) for m in modes]
        row = ["mean of sets", None, None, *means]
        if paired:
            row += [means[modes.index("hybrid")] - means[modes.index("dense")], ""]
        rows.append(row)
    notes = ["Intervals: 95 % bootstrap over queries. p: paired randomisation, two-sided."]
    if left_out:
        notes.append(f"No {split} judgements: {', '.join(left_out)}.")
    columns: list[Column | str] = ["set", "documents", "queries"]
    columns += [Column(mode, scale=100) for mode in modes]
    columns += [Column(name, scale=100) if name != "p" else name for name in paired]
    return Table(f"Retrieval, {split}: nDCG@10 × 100", columns, rows, notes)


def _measure_table(
    scored: Mapping[str, Mapping[str, RetrievalScores]], mode: str, split: str
) -> Table:
    rows: list[list[Cell]] = [
        [name, *(by_mode[mode].mean(measure) for measure in MEASURES)]
        for name, by_mode in scored.items()
    ]
    columns: list[Column | str] = ["set", *(Column(m, scale=100) for m in MEASURES)]
    return Table(f"{mode}, {split}: all measures × 100", columns, rows)


def _fusion_table(ranked: Sequence[Rankings]) -> Table:
    rows: list[list[Cell]] = []
    for fusion in FUSIONS:
        values = [r.scores("hybrid", fusion).mean("nDCG@10") for r in ranked]
        label = f"{fusion.method}, dense weight {fusion.dense_weight:g}"
        rows.append([label, float(np.mean(values)), *values])
    columns: list[Column | str] = ["fusion", Column("mean", scale=100, best="max")]
    columns += [Column(r.name, scale=100, best="max") for r in ranked]
    return Table("Fusion on dev: nDCG@10 × 100", columns, rows)
