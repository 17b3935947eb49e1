"""The graders of the relevance tables: each is trained once, and what it says is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.data.graded import Grading
from pointsman.data.testbed import HOMEDEPOT_LEVELS
from pointsman.experiments.relevance.bed import Bed, Sample
from pointsman.experiments.report import Show
from pointsman.grade.grader import PairGrader
from pointsman.grade.head import HeadKind
from pointsman.grade.objective import Objective
from pointsman.grade.pairwise import PairTexts
from pointsman.grade.recipe import Labelled, Recipe, Trained, joined, taught, train_grader
from pointsman.grade.task import grader_of
from pointsman.types import FloatArray

POOL, TRAIN = "pool", "train"


@dataclass(frozen=True, slots=True)
class Run:
    """What tells one grader from another. `soft`: targets are shared between neighbouring grades;
    `fine`: all grades of the raters' scale are learned, and summed to the bed's; `picked`: places of
    the pool whose labels were paid for; `taught`: places that the same grader without them labels
    with its probabilities; `epochs`: None for the recipe's.
    """

    objective: Objective = field(default_factory=Objective)
    probing: bool = False
    head: HeadKind = "plain"
    soft: bool = False
    fine: bool = False
    wording: bool = False
    picked: tuple[int, ...] = ()
    taught: tuple[int, ...] = ()
    epochs: int | None = None
    seed: int = 0


class Graders:
    """Trains graders when they are first asked for; `folder` keeps them, `cache` what they say."""

    def __init__(
        self,
        bed: Bed,
        backbone: Backbone,
        recipe: Recipe,
        folder: Path,
        cache: ArrayCache,
        show: Show,
    ) -> None:
        self.bed = bed
        self.backbone = backbone
        self.recipe = recipe
        self._folder = folder
        self._cache = cache
        self._show = show
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

        def say() -> FloatArray:
            found = self._grader(run, alpha).probabilities(texts)
            return summed(found, self.bed.grading) if run.fine else found

        return self._kept(run, label, say)

    def _kept(self, run: Run, label: str, make: Callable[[], FloatArray]) -> FloatArray:
        return self._cache.get(f"relevance-{label}", self._identity(run), make)

    def _identity(self, run: Run) -> str:
        backbone = self.backbone.identity.sha256, str(self.backbone.dtype)
        # How many pairs are probed makes no other grader where none are.
        recipe = self.recipe if run.probing else replace(self.recipe, probed=None)
        return _digest(run, recipe, backbone, self._bed_digest)

    def _grader(self, run: Run, alpha: float) -> PairGrader:
        settings = self._recipe_of(run).settings(self._names(run))
        return grader_of(self.backbone, self._trained(run).at(alpha), settings)

    def _recipe_of(self, run: Run) -> Recipe:
        return replace(
            self.recipe,
            head=run.head,
            objective=run.objective,
            probing=run.probing,
            wording=run.wording,
            plan=replace(
                self.recipe.plan, seed=run.seed, epochs=run.epochs or self.recipe.plan.epochs
            ),
        )

    def _train(self, run: Run) -> Trained:
        labelled = self._labelled(run)
        label = f"training on {len(labelled.pairs):,} pairs, seed {run.seed}"
        return train_grader(
            self.backbone,
            labelled,
            self.bed.id_dev.fine() if run.fine else self._hard(self.bed.id_dev),
            self._names(run),
            self._recipe_of(run),
            self._folder / self._identity(run),
            lambda progress: self._show(label, progress.step, progress.steps),
        )

    def _labelled(self, run: Run) -> Labelled:
        people = self.bed.train
        if run.picked:
            people = people.joined(self.bed.picked(np.array(run.picked)))
        labelled = people.fine() if run.fine else self._hard(people, run.soft)
        if not run.taught:
            return labelled
        places = list(run.taught)
        said = self.of_pool(replace(run, taught=()))[places]
        texts = self.bed.pool_texts  # made anew whenever it is asked for
        return joined([labelled, taught([texts[i] for i in places], said)])

    def _hard(self, sample: Sample, soft: bool = False) -> Labelled:
        return sample.labelled(len(self.bed.grading.names), soft)

    def _names(self, run: Run) -> tuple[str, ...]:
        return HOMEDEPOT_LEVELS.names if run.fine else self.bed.grading.names


def summed(fine: FloatArray, grading: Grading) -> FloatArray:
    """Probabilities [n, 7] of the raters' scale summed to those of grades that it refines [n, G]."""
    grades = np.array([0, *(grading.grade(cut) for cut in HOMEDEPOT_LEVELS.cuts)])
    return np.stack([fine[:, grades == g].sum(axis=1) for g in range(len(grading.names))], axis=1)


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:20]
