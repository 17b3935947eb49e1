"""The classifiers that RouterRetriever is compared with (arXiv 2409.02685, appendix A.1).

All of them are logistic regressions on the base's query vector, and differ in what is a label:

- ClassificationHeadRouter: one head over all experts; the label is the instance's best expert.
- ExpertClassifierRouter: a yes-or-no classifier for every expert; yes is "this one is best here".
- DatasetRouter: one head over the data sets; the label is the set that the instance comes from.

Numbers of instances differ between experts by a factor of ten and more, so classes are weighted
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pointsman.errors import MissingDependencyError
from pointsman.route.pilots import IntArray
from pointsman.route.router import LinearRouter
from pointsman.types import FloatArray

# What an expert scores that no training instance speaks for: below any logit.
_NEVER = -1e9


def classification_head(
    experts: Sequence[str], vectors: FloatArray, labels: IntArray, seed: int = 0
) -> LinearRouter:
    """One head over experts (ClassificationHeadRouter), or over the sets' experts (DatasetRouter).

    `vectors` [n, d] and `labels` [n], each the number of an expert. An expert that is no instance's
    label is never chosen.
    """
    weight = np.zeros((len(experts), vectors.shape[1]), dtype=np.float32)
    bias = np.full(len(experts), _NEVER, dtype=np.float32)
    classes = np.unique(labels)
    if len(classes) == 1:
        bias[classes] = 0.0
        return LinearRouter(experts, weight, bias)
    model = _regression(seed).fit(vectors, labels)
    if len(classes) == 2:  # scikit-learn then has one row, for the second class
        weight[classes[1]], bias[classes[1]] = model.coef_[0], model.intercept_[0]
        bias[classes[0]] = 0.0
    else:
        weight[classes], bias[classes] = model.coef_, model.intercept_
    return LinearRouter(experts, weight, bias)


def expert_classifiers(
    experts: Sequence[str], vectors: FloatArray, labels: IntArray, seed: int = 0
) -> LinearRouter:
    """A classifier for every expert (ExpertClassifierRouter); the one that is surest gets the query."""
    weight = np.zeros((len(experts), vectors.shape[1]), dtype=np.float32)
    bias = np.full(len(experts), _NEVER, dtype=np.float32)
    for expert in np.unique(labels).tolist():
        mine = labels == expert
        if mine.all():
            bias[expert] = 0.0
            continue
        model = _regression(seed).fit(vectors, mine)
        weight[expert], bias[expert] = model.coef_[0], model.intercept_[0]
    return LinearRouter(experts, weight, bias)


def _regression(seed: int) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingDependencyError(
            "the classifiers among the rivals need scikit-learn; pip install 'pointsman[experiments]'"
        ) from None
    return LogisticRegression(class_weight="balanced", max_iter=2_000, random_state=seed)
