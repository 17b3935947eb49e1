"""What a grader's probabilities are worth on a sample: the right grade, the right confidence, the order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.evaluate.calibration import brier, ece, nll, top_label
from pointsman.evaluate.classification import accuracy, confusion, macro_f1, quadratic_kappa
from pointsman.evaluate.retrieval import evaluate_run
from pointsman.experiments.relevance.bed import Sample
from pointsman.grade.decision import Decision
from pointsman.types import FloatArray

MEASURES = ("macro-F1", "by thresholds", "accuracy", "kappa", "nDCG@10", "ECE", "Brier", "NLL")


def measured(sample: Sample, probabilities: FloatArray, decision: Decision) -> dict[str, float]:
    """MEASURES of probabilities [n, G]: macro-F1 of the likeliest grade, and of the grade that
    `decision`, fitted to dev, names. nDCG ranks each query's own pairs by expected relevance.
    """
    grades = probabilities.shape[1]
    counts = confusion(sample.labels, probabilities.argmax(axis=1), grades)
    named = confusion(sample.labels, decision.grades(probabilities), grades)
    return {
        "macro-F1": float(macro_f1(counts)),
        "by thresholds": float(macro_f1(named)),
        "accuracy": float(accuracy(counts)),
        "kappa": float(quadratic_kappa(counts)),
        "nDCG@10": within_queries(sample, probabilities @ np.arange(grades)),
        "ECE": ece(*top_label(probabilities, sample.labels)),
        "Brier": brier(probabilities, sample.labels),
        "NLL": nll(probabilities, sample.labels),
    }


def within_queries(sample: Sample, relevance: Sequence[float] | FloatArray) -> float:
    """Mean nDCG@10 of ranking each query's pairs by `relevance` [n], the grades being the gains.

    A query whose pairs all have one grade tells nothing about order and does not count.
    """
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for i, (query, label) in enumerate(zip(sample.queries, sample.labels.tolist(), strict=True)):
        qrels.setdefault(query, {})[str(i)] = label
        run.setdefault(query, {})[str(i)] = float(relevance[i])
    told = {query: grades for query, grades in qrels.items() if len(set(grades.values())) > 1}
    return evaluate_run(told, run, ["nDCG@10"]).mean("nDCG@10")
