"""The rows of the relevance tables: DaRL's three parts apart and together, their controls, and ours.

A row is a function from a seed to a predictor, and a predictor from a sample to probabilities. All
is chosen on id_dev and on the topics held out of training; no row sees a test sample's labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pointsman.evaluate.calibration import nll
from pointsman.experiments.relevance.bed import Sample
from pointsman.experiments.relevance.graders import POOL, TRAIN, Graders, Run
from pointsman.grade.acquire import DISTANCES, QUANTILES
from pointsman.grade.augment import Pool, pick, window
from pointsman.grade.objective import Objective
from pointsman.grade.recipe import ALPHAS, macro_f1_of
from pointsman.grade.scaling import Temperature
from pointsman.grade.scaling import choose as choose_scaling
from pointsman.types import FloatArray

Predictor = Callable[[Sample], FloatArray]

BUDGET = 0.10
"""The share of the pool whose labels are paid for."""
SMOOTHING = 0.1
PER_QUERY = 3
"""Pairs of one query that are taken at most, where a row picks for coverage."""
PAPER_ALPHA = 0.6


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables. `kind` is plain, control, paper, ours or bound; `labels` were paid for."""

    name: str
    kind: str
    predictor: Callable[[int], Predictor]
    labels: int = 0


class Rows:
    """Makes the rows from graders; `occ` is the objective that dev chose for OCC."""

    def __init__(self, graders: Graders, occ: Objective, budget: float = BUDGET) -> None:
        self.graders = graders
        self.occ = occ
        self.budget = max(1, round(budget * len(graders.bed.pool)))

    def all(self) -> list[Row]:
        """Every row, the plain one first."""
        smoothed = Objective(smoothing=SMOOTHING)
        whole = len(self.graders.bed.pool)
        return [
            Row("plain fine-tuning", "plain", lambda seed: self.said(Run(seed=seed))),
            Row("two epochs", "control", lambda seed: self.said(Run(epochs=2, seed=seed))),
            Row("label smoothing", "control", lambda seed: self.said(Run(smoothed, seed=seed))),
            Row("temperature scaling", "control", lambda seed: self.cooled(Run(seed=seed))),
            Row("OCC", "paper", lambda seed: self.said(Run(self.occ, seed=seed))),
            Row(
                f"LPFT, α = {PAPER_ALPHA}",
                "paper",
                lambda seed: self.said(Run(probing=True, seed=seed), PAPER_ALPHA),
            ),
            Row("LPFT, α by held-out topics", "paper", lambda seed: self.lpft(_probing(seed))),
            *(self._picking(name, kind) for name, kind in PICKS.items()),
            Row("DaRL: OCC, LPFT, DASA by both", "paper", self.darl, self.budget),
            Row("+ wording", "ours", lambda seed: self.calibrated(Run(wording=True, seed=seed))),
            Row("+ wording, self-training", "ours", lambda seed: self.ours(seed, None)),
            Row("ours: + wording, coverage, self-training", "ours", self.ours, self.budget),
            Row(
                "the whole pool labelled",
                "bound",
                lambda seed: self.said(Run(picked=tuple(range(whole)), seed=seed)),
                whole,
            ),
        ]

    def said(self, run: Run, alpha: float = 1.0) -> Predictor:
        """What a grader says, as it is."""
        return lambda sample: self.graders.probabilities(run, sample, alpha)

    def cooled(self, run: Run, alpha: float = 1.0) -> Predictor:
        """The same through the temperature that fits id_dev."""
        dev = self.graders.bed.id_dev
        scaling = Temperature.fit(self.graders.probabilities(run, dev, alpha), dev.labels)
        return lambda sample: _f32(scaling.apply(self.graders.probabilities(run, sample, alpha)))

    def calibrated(self, run: Run, alpha: float = 1.0) -> Predictor:
        """The same through whichever map id_dev prefers, cross-validated by query."""
        dev = self.graders.bed.id_dev
        said = self.graders.probabilities(run, dev, alpha)
        scaling = choose_scaling(said, dev.labels, dev.queries).scaling
        return lambda sample: _f32(scaling.apply(self.graders.probabilities(run, sample, alpha)))

    def lpft(self, run: Run) -> Predictor:
        """A grader that was probed and fine-tuned, at the α that held-out topics prefer."""
        return self.said(run, self.best_alpha(run))

    def best_alpha(self, run: Run) -> float:
        """The α of the best likelihood on the topics held out of training, the larger of equals."""
        shifted = self.graders.bed.shifted

        def loss(alpha: float) -> float:
            return nll(self.graders.probabilities(run, shifted, alpha), shifted.labels)

        return min(reversed(ALPHAS), key=loss)

    def macro_f1(self, run: Run, sample: Sample, alpha: float) -> float:
        """Macro-F1 of a grader on a sample, α of the way from probe to fine-tuned."""
        return macro_f1_of(self.graders.probabilities(run, sample, alpha), sample.labels)

    def darl(self, seed: int) -> Predictor:
        """All three parts of the paper."""
        run = replace(self._with(Run(seed=seed), "DASA by both"), objective=self.occ, probing=True)
        return self.lpft(run)

    def ours(self, seed: int, way: str | None = "coverage") -> Predictor:
        """The wording beside the states; what is not paid for is taught by the grader itself."""
        picked = self.picked(seed, way) if way else ()
        rest = frozenset(range(len(self.graders.bed.pool))) - frozenset(picked)
        run = Run(wording=True, picked=picked, taught=tuple(sorted(rest)), seed=seed)
        return self.calibrated(run)

    def _picking(self, name: str, kind: str) -> Row:
        return Row(
            f"+ {name}",
            kind,
            lambda seed: self.said(self._with(Run(seed=seed), name)),
            self.budget,
        )

    def _with(self, run: Run, name: str) -> Run:
        """The run with pairs of the pool that the plain grader of its seed picked."""
        return replace(run, picked=self.picked(run.seed, name))

    def picked(
        self,
        seed: int,
        name: str,
        budget: int | None = None,
        quantiles: tuple[float, float] = QUANTILES,
    ) -> tuple[int, ...]:
        """The places of the pool that a way of picking takes, by the plain grader of a seed."""
        strategy, distances, per_query = _WAYS[name]
        plain, bed = Run(seed=seed), self.graders.bed
        features = train = None
        if distances or strategy == "coverage":
            features = self.graders.features(plain, POOL)
            train = self.graders.features(plain, TRAIN)
        measured = [self.distances(plain, each) for each in distances]
        pool = Pool(
            size=len(bed.pool),
            distances=[of_pool for _, of_pool in measured],
            windows=[window(of_train, *quantiles) for of_train, _ in measured],
            probabilities=self.graders.of_pool(plain) if strategy == "entropy" else None,
            features=features,
            train=train,
            queries=np.array([query for query, _ in bed.pool_texts]),
        )
        chosen = pick(pool, budget or self.budget, strategy, per_query=per_query, seed=seed)
        return tuple(sorted(chosen.indices.tolist()))

    def distances(self, run: Run, kind: str) -> tuple[FloatArray, FloatArray]:
        """Distances of the training pairs and of the pool's, by the features of a grader."""
        train, bed = self.graders.features(run, TRAIN), self.graders.bed.train
        return self.graders.kept_pair(
            run,
            f"distances-{kind}",
            lambda: DISTANCES[kind](
                train, bed.labels, bed.queries, self.graders.features(run, POOL)
            ),
        )


# Name -> the strategy, the distances whose windows bound it, and how many pairs a query gives.
_WAYS: dict[str, tuple[str, tuple[str, ...], int | None]] = {
    "random": ("random", (), None),
    "random queries": ("random", (), PER_QUERY),
    "uncertainty": ("entropy", (), None),
    "DASA by Mahalanobis": ("distance", ("mahalanobis",), None),
    "DASA by kNN": ("distance", ("neighbours",), None),
    "DASA by both": ("distance", ("mahalanobis", "neighbours"), None),
    "coverage": ("coverage", (), PER_QUERY),
}
PICKS = {
    name: "paper" if name.startswith("DASA") else "ours" if name == "coverage" else "control"
    for name in _WAYS
}


def _probing(seed: int) -> Run:
    return Run(probing=True, seed=seed)


def _f32(values: object) -> FloatArray:
    return np.asarray(values, dtype=np.float32)
