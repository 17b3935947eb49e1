"""The graders of the relevance tables: each is trained once, and what it says is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.data.arrays import ArrayCache
from pointsman.experiments.relevance.bed import Bed, Sample
from pointsman.experiments.report import Show
from pointsman.grade.grader import PairGrader, PairTexts
from pointsman.grade.head import HeadKind
from pointsman.grade.objective import Objective
from pointsman.grade.recipe import Recipe, Trained, train_grader
from pointsman.grade.task import grader_of
from pointsman.types import FloatArray

POOL, TRAIN = "pool", "train"


@dataclass(frozen=True, slots=True)
class Run:
    """What tells one grader from another. `soft`: targets are shared between neighbouring grades;
    `picked`: places of the pool whose labels were paid for.
    """

    objective: Objective = field(default_factory=Objective)
    probing: bool = False
    head: HeadKind = "plain"
    soft: bool = False
    wording: bool = False
    picked: tuple[int, ...] = ()
    seed: int = 0


class Graders:
    """Trains graders when they are first asked for; `folder` keeps them, `cache` what they say.

    All begin with the adapter `start`, which the recipe names, or with a fresh one.
    """

    def __init__(
        self,
        bed: Bed,
        backbone: Backbone,
        recipe: Recipe,
        folder: Path,
        cache: ArrayCache,
        show: Show,
        start: LoraAdapter | None = None,
    ) -> None:
        self.bed = bed
        self.backbone = backbone
        self._recipe = recipe
        self._folder = folder
        self._cache = cache
        self._show = show
        self._start = start
        self._samples = {each.name: each for each in (bed.train, *bed.samples())}
        self._bed_digest = _digest(
            [each.texts for each in self._samples.values()], bed.pool_texts, bed.grading
        )
        # One grader at a time is in memory: rows ask for all of one before the next.
        self._trained = lru_cache(maxsize=1)(self._train)

    def probabilities(self, run: Run, sample: Sample, alpha: float = 1.0) -> FloatArray:
        """What the grader says of a sample's pairs [n, G], α of the way from probe to fine-tuned."""
        return self._said(run, sample.name, sample.texts, alpha)

    def of_pool(self, run: Run) -> FloatArray:
        """The same of the pool's pairs."""
        return self._said(run, POOL, self.bed.pool_texts, 1.0)

    def features(self, run: Run, part: str) -> FloatArray:
        """What the fine-tuned grader's head looks at [n, 4d], of the train part or the pool."""
        texts = self.bed.pool_texts if part == POOL else self._samples[part].texts
        return self._kept(run, f"features-{part}", lambda: self._grader(run, 1.0).features(texts))

    def kept_pair(
        self, run: Run, label: str, make: Callable[[], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[FloatArray, FloatArray]:
        """Two arrays [n] and [m] that follow from a grader, n being the training pairs, kept as one."""
        both = self._kept(run, label, lambda: np.concatenate(make()).astype(np.float32))
        return both[: len(self.bed.train)], both[len(self.bed.train) :]

    def _said(self, run: Run, name: str, texts: Sequence[PairTexts], alpha: float) -> FloatArray:
        label = f"{name}-{alpha:g}".replace(" ", "-")
        return self._kept(run, label, lambda: self._grader(run, alpha).probabilities(texts))

    def _kept(self, run: Run, label: str, make: Callable[[], FloatArray]) -> FloatArray:
        return self._cache.get(f"relevance-{label}", self._identity(run), make)

    def _identity(self, run: Run) -> str:
        backbone = self.backbone.identity.sha256, str(self.backbone.dtype)
        return _digest(run, self._recipe, backbone, self._bed_digest)

    def _grader(self, run: Run, alpha: float) -> PairGrader:
        settings = self._recipe_of(run).settings(self.bed.grading.names)
        return grader_of(self.backbone, self._trained(run).at(alpha), settings)

    def _recipe_of(self, run: Run) -> Recipe:
        return replace(
            self._recipe,
            head=run.head,
            objective=run.objective,
            probing=run.probing,
            wording=run.wording,
            plan=replace(self._recipe.plan, seed=run.seed),
        )

    def _train(self, run: Run) -> Trained:
        grades = self.bed.grading.names
        labelled = self.bed.train
        if run.picked:
            labelled = labelled.joined(self.bed.picked(np.array(run.picked)))
        label = f"training on {len(labelled):,} pairs, seed {run.seed}"
        return train_grader(
            self.backbone,
            labelled.labelled(len(grades), run.soft),
            self.bed.id_dev.labelled(len(grades)),
            grades,
            self._recipe_of(run),
            self._folder / self._identity(run),
            lambda progress: self._show(label, progress.step, progress.steps),
            start=self._start,
        )


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:20]
