"""What of an unlabelled pool to have labelled, by what a grader sees in its pairs.

The grader's features say how far a pair lies from the training pairs, its probabilities how unsure it
is; what follows from that is `pointsman.grade.augment`'s. m pairs in the pool, n training pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.data.splits import normalise
from pointsman.errors import ConfigError
from pointsman.grade.augment import Picked, Pool, Window, pick, window
from pointsman.grade.distance import ClassGaussians, Floats, nearest_neighbour_distance
from pointsman.grade.grader import PairGrader
from pointsman.grade.pairwise import PairTexts, PairwiseGrader
from pointsman.grade.scaling import distributions
from pointsman.types import FloatArray

QUANTILES = (0.5, 0.99)
"""Between which quantiles of the training pairs' distances a pool pair should lie."""
NEIGHBOURS = 10
"""The distance "neighbours" is the one to so many-th nearest training pair."""

_FOLDS = 5

Grades = npt.NDArray[np.int64]
Measure = Callable[[FloatArray, Grades | None, Sequence[str], FloatArray], tuple[Floats, Floats]]
"""Features [n, d], grades [n] and queries [n] of training, features [m, d] of the pool -> distances
[n] and [m]. A training pair is measured as a pool pair is: by training pairs of other queries."""


@dataclass(frozen=True, slots=True, eq=False)
class Acquired:
    """What was picked, by which `windows` of which distances; `inside` pool pairs lie in all of them."""

    picked: Picked
    windows: Mapping[str, Window]
    inside: int


def acquire(
    grader: PairGrader,
    pool: Sequence[PairTexts],
    train: Sequence[PairTexts],
    labels: Grades | None,
    budget: int,
    strategy: str,
    *,
    distances: Sequence[str] = (),
    quantiles: tuple[float, float] = QUANTILES,
    per_query: int | None = None,
    seed: int = 0,
) -> Acquired:
    """`budget` pairs of the `pool` [m] by one of `augment.STRATEGIES`, from inside all windows.

    `train` [n] is what the grader was trained on; its grades `labels` [n] are what Mahalanobis
    distances need, and nothing else. Each of `distances`, of
    `DISTANCES`, bounds a window between `quantiles` of the training pairs' own, each measured without
    its query; without any the whole pool is picked from, and "distance" then cannot. Queries that read
    alike count as one.

    Raises what `augment.pick` and `augment.window` raise, ConfigError for an unknown distance or one
    without its grades, and InputError for a grader that says or sees NaN.
    """
    for name in distances:
        if name not in DISTANCES:
            raise ConfigError(f"there is no distance {name!r}; there are {', '.join(DISTANCES)}")
    # Quantiles that contradict each other are told before anything is read.
    window([0.0], *quantiles)
    features = seen = None
    if len(pool) and (distances or strategy in _BY_FEATURES):
        features, seen = grader.features(pool), grader.features(train)
    windows: dict[str, Window] = {}
    measured: list[Floats] = []
    if features is not None and seen is not None:
        for name in dict.fromkeys(distances):
            own, others = DISTANCES[name](seen, labels, [query for query, _ in train], features)
            windows[name] = window(own, *quantiles)
            measured.append(others)
    asked = Pool(
        size=len(pool),
        distances=measured,
        windows=tuple(windows.values()),
        probabilities=grader.probabilities(pool) if strategy in _BY_PROBABILITIES else None,
        features=features,
        train=seen,
        queries=np.array([normalise(query) for query, _ in pool]),
    )
    picked = pick(asked, budget, strategy, per_query=per_query, seed=seed)
    inside = np.ones(len(pool), dtype=np.bool_)
    for bounds, found in zip(windows.values(), measured, strict=True):
        inside &= bounds.inside(found)
    return Acquired(picked, windows, int(inside.sum()))


def likeliest(grader: PairwiseGrader, pairs: Sequence[PairTexts]) -> Grades:
    """The likeliest grade [n] of each pair, the lower of equal ones.

    Raises InputError where what the grader says are no probabilities: of NaN some grade would be the
    greatest as well.
    """
    return np.asarray(distributions(grader.probabilities(pairs)).argmax(axis=1), dtype=np.int64)


def _mahalanobis(
    train: FloatArray, labels: Grades | None, queries: Sequence[str], pool: FloatArray
) -> tuple[Floats, Floats]:
    if labels is None:
        raise ConfigError("Mahalanobis distances need the grades of the training pairs; give them")
    # A Gaussian lies where its own samples are, the more so the fewer they are for their dimensions.
    own = np.empty(len(train))
    for mine in _folds(queries):
        own[mine] = ClassGaussians.fit(train[~mine], labels[~mine]).nearest(train[mine])
    return own, ClassGaussians.fit(train, labels).nearest(pool)


def _neighbours(
    train: FloatArray, _: Grades | None, queries: Sequence[str], pool: FloatArray
) -> tuple[Floats, Floats]:
    others = nearest_neighbour_distance(train, pool, NEIGHBOURS)
    # Pairs of one query lie close together, and a pool pair has no such neighbour in training.
    own = np.empty(len(train))
    for mine in _folds(queries):
        rest = train[~mine]
        # Of fewer samples a nearer neighbour lies as far away.
        k = max(1, round(NEIGHBOURS * len(rest) / len(train)))
        own[mine] = nearest_neighbour_distance(rest, train[mine], k)
    return own, others


def _folds(queries: Sequence[str]) -> list[npt.NDArray[np.bool_]]:
    """Masks [n] of the folds, a query whole in one of them; a single query has one fold a pair."""
    numbers = np.unique([normalise(query) for query in queries], return_inverse=True)[1]
    if numbers.max(initial=0) == 0:
        numbers = np.arange(len(queries))
    return [numbers % _FOLDS == fold for fold in np.unique(numbers % _FOLDS)]


DISTANCES: Mapping[str, Measure] = {"mahalanobis": _mahalanobis, "neighbours": _neighbours}

# What a strategy needs to be given; the grader is not asked for what nobody looks at.
_BY_FEATURES = frozenset({"coverage", "typicality"})
_BY_PROBABILITIES = frozenset({"entropy", "margin"})
