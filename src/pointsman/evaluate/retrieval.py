"""Retrieval effectiveness: nDCG, reciprocal rank, average precision, recall, precision."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ir_measures
import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError, InputError
from pointsman.types import Qrels, Run

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "AP@100", "R@100", "P@10")

_MEASURES = {
    "nDCG": ir_measures.nDCG,
    "RR": ir_measures.RR,
    "MRR": ir_measures.RR,
    "AP": ir_measures.AP,
    "MAP": ir_measures.AP,
    "R": ir_measures.R,
    "P": ir_measures.P,
    "Success": ir_measures.Success,
}
_WRITTEN = re.compile(r"([A-Za-z]+)(?:@([1-9][0-9]{0,5}))?")


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalScores:
    """Scores of one run, in [0, 1].

    `values` is [queries, measures]. `missing` counts the queries that the run does not hold, which
    score 0; `unjudged` those left out because none of their documents is judged relevant.
    """

    queries: tuple[str, ...]
    measures: tuple[str, ...]
    values: npt.NDArray[np.float64]
    missing: int = 0
    unjudged: int = 0

    def __getitem__(self, measure: str) -> npt.NDArray[np.float64]:
        """One measure's score of every query [queries]."""
        if measure not in self.measures:
            raise ConfigError(f"{measure!r} was not measured; there are {', '.join(self.measures)}")
        return self.values[:, self.measures.index(measure)]

    def mean(self, measure: str) -> float:
        """One measure's mean over queries."""
        return float(self[measure].mean())

    @property
    def means(self) -> dict[str, float]:
        """Every measure's mean over queries."""
        return {measure: self.mean(measure) for measure in self.measures}


def evaluate_run(
    qrels: Qrels, run: Run, measures: Iterable[str] = DEFAULT_MEASURES
) -> RetrievalScores:
    """Score a run against relevance judgements with ir_measures.

    A measure is written NAME@k; names are nDCG, RR (MRR), AP (MAP), R, P and Success. nDCG is
    trec_eval's: DCG@k = Σ_i grade_i / log2(i + 1) over the first k ranks, divided by the ideal
    (Järvelin & Kekäläinen 2002 with linear gain). For the others a grade ≥ 1 is relevant. Equal
    scores rank by descending document id, trec_eval's rule, for every measure alike.

    Queries follow the order of `qrels`; what `run` holds beyond them is ignored.

    Raises ConfigError for a measure that is not known, InputError for a score that is not finite
    and where qrels and run have nothing in common.
    """
    names = tuple(dict.fromkeys(measures))
    parsed = {name: _parse(name) for name in names}
    judged = {
        query: {document: int(grade) for document, grade in grades.items()}
        for query, grades in qrels.items()
        if any(grade > 0 for grade in grades.values())
    }
    if not judged:
        raise InputError(
            f"none of the {len(qrels)} judged queries has a relevant document: there is nothing "
            "to measure"
        )
    if run and judged.keys().isdisjoint(run):
        raise InputError(
            f"no query of the run is judged: the run has {next(iter(run))!r}, the judgements "
            f"{next(iter(judged))!r}; are both of the same collection?"
        )
    ranked = {query: _ranks(query, run[query]) for query in judged if query in run}

    rows = {query: row for row, query in enumerate(judged)}
    columns: dict[ir_measures.Measure, list[int]] = {measure: [] for measure in parsed.values()}
    for column, name in enumerate(names):
        columns[parsed[name]].append(column)
    values = np.zeros((len(rows), len(names)))
    for metric in ir_measures.iter_calc(list(columns), judged, ranked):
        values[rows[metric.query_id], columns[metric.measure]] = metric.value
    return RetrievalScores(
        queries=tuple(judged),
        measures=names,
        values=values,
        missing=len(judged) - len(ranked),
        unjudged=len(qrels) - len(judged),
    )


def _parse(written: str) -> ir_measures.Measure:
    # Not ir_measures.parse_measure: a cut-off of 0 makes trec_eval end the process.
    match = _WRITTEN.fullmatch(written)
    if match is None or match[1] not in _MEASURES:
        raise ConfigError(
            f"unknown measure {written!r}; write for example {', '.join(DEFAULT_MEASURES)} "
            f"(names: {', '.join(_MEASURES)})"
        )
    measure = _MEASURES[match[1]]
    if match[2] is not None:
        return measure @ int(match[2])
    if measure.SUPPORTED_PARAMS["cutoff"].required:
        raise ConfigError(f"measure {written!r} needs a cut-off, for example {written}@10")
    return measure


def _ranks(query: str, scores: Mapping[str, float]) -> dict[str, float]:
    """The same ranking with every score distinct.

    The libraries behind ir_measures break ties differently, and trec_eval compares scores in
    single precision; with ranks for scores all of them see one ranking.
    """
    for document, score in scores.items():
        if not math.isfinite(score):
            raise InputError(
                f"query {query!r}, document {document!r}: the score is {score}; scores must be "
                "finite numbers"
            )
    order = sorted(scores, key=lambda document: (scores[document], document))
    return {document: float(rank) for rank, document in enumerate(order, start=1)}
