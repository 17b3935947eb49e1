"""How a grader is trained: probe, fine-tune, and stop somewhere between the two."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pointsman.backbone.device import trains_in_bf16
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter, read_safetensors
from pointsman.data.draw import drawn
from pointsman.errors import InputError
from pointsman.evaluate.calibration import nll
from pointsman.evaluate.classification import confusion, macro_f1
from pointsman.grade.grader import GraderSettings, PairGrader
from pointsman.grade.head import GradeHead, HeadKind
from pointsman.grade.objective import Objective
from pointsman.grade.pairwise import PairTexts, PairwiseGrader
from pointsman.grade.probe import best_probe, between
from pointsman.grade.task import GraderTask, Part, grader_of
from pointsman.training.loop import Outcome, Plan, Progress, train
from pointsman.types import FloatArray

ALPHAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MEASURE = "nll"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a grader is trained. `hidden` is the head's inner width, 0 for a linear one. With `probing`
    the head is fitted to the base's features before fine-tuning; `alpha_lora` is LoRA's α. `start`
    names the specialist whose adapter fine-tuning begins with in place of a fresh one: what a reader
    learned of questions and passages serves a grader too. Layers below `from_layer` stay as they
    were, and a step is the faster for it. With `wording` the head sees how much of the
    question's wording the passage repeats. `probed` bounds the pairs that the head is fitted to.
    """

    head: HeadKind = "plain"
    hidden: int = 256
    rank: int = 16
    alpha_lora: float = 32.0
    objective: Objective = field(default_factory=Objective)
    probing: bool = True
    start: str | None = None
    from_layer: int = 0
    wording: bool = False
    probed: int | None = None
    batch_size: int = 32
    dropout: float = 0.0
    max_length: int = 384
    plan: Plan = field(
        default_factory=lambda: Plan(
            measure=MEASURE, epochs=3, learning_rate=5e-4, evaluations=2, patience=3
        )
    )

    def settings(self, grades: Sequence[str]) -> GraderSettings:
        """What a grader of these grades is, before it is calibrated."""
        return GraderSettings(
            tuple(grades), self.head, max_length=self.max_length, wording=self.wording
        )

    def on(self, backbone: Backbone) -> Recipe:
        """The same recipe as this machine trains it best: bf16 where the processor multiplies it.

        In a base of few layers no more than the lower half stays as it is.
        """
        fast = trains_in_bf16(backbone.device)
        lowest = min(self.from_layer, backbone.shape.layers // 2)
        return replace(self, from_layer=lowest, plan=replace(self.plan, bf16=fast))


GRADED = Recipe(wording=True)
"""For pairs that people graded."""

JUDGED = Recipe(
    rank=32,
    alpha_lora=64.0,
    max_length=256,
    # Tens of thousands of long pairs: a few thousand pin the head down, and one epoch takes long.
    probed=6_000,
    plan=Plan(measure=MEASURE, epochs=1, learning_rate=4e-4, evaluations=2),
)
"""For pairs mined from collections that were judged for retrieval."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pairs [n], their distributions over grades `targets` [n, G], and their one grade `labels` [n]."""

    pairs: Sequence[PairTexts]
    targets: Tensor
    labels: npt.NDArray[np.int64]

    def check(self, what: str, grades: int) -> None:
        """Raises InputError where there is nothing, or one grade alone, to learn or to choose by."""
        if len(self.pairs) == 0:
            raise InputError(f"{what}: no graded pair")
        if len(np.unique(self.labels)) < 2:
            raise InputError(
                f"{what}: all {len(self.pairs)} pairs have grade {int(self.labels[0])} of {grades}; "
                "there is nothing to tell apart"
            )


def joined(parts: Sequence[Labelled]) -> Labelled:
    """All pairs, one part after the other."""
    return Labelled(
        [pair for part in parts for pair in part.pairs],
        torch.cat([part.targets for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def taught(pairs: Sequence[PairTexts], probabilities: FloatArray) -> Labelled:
    """Pairs [n] with what a grader says of them [n, G] in place of people's labels (self-training)."""
    return Labelled(pairs, torch.from_numpy(probabilities), probabilities.argmax(axis=1))


@dataclass(frozen=True, eq=False)
class Trained:
    """Both ends of the path: the probe's head (None without probing) and the fine-tuned part.

    `start` is the adapter that training began with, None for a fresh one, which changes nothing.
    """

    probed: GradeHead | None
    tuned: Part
    outcome: Outcome
    start: LoraAdapter | None = None

    def at(self, alpha: float) -> Part:
        """The point α of the way; without a probe there is only the end."""
        if self.probed is None or alpha == 1:
            return self.tuned
        return between(self.probed, self.tuned, alpha, self.start)


def train_grader(
    backbone: Backbone,
    train_on: Labelled,
    dev: Labelled,
    grades: Sequence[str],
    recipe: Recipe,
    folder: Path,
    show: Callable[[Progress], None] | None = None,
    *,
    start: LoraAdapter | None = None,
) -> Trained:
    """Probe, if the recipe says so, and fine-tune; the best weights by dev's likelihood.

    Fine-tuning begins with the adapter `start`, or with a fresh one. `folder` holds checkpoints: the
    same call goes on from them. Raises InputError for data of which nothing can be learned.
    """
    train_on.check("training pairs", len(grades))
    dev.check("dev pairs", len(grades))
    settings = recipe.settings(grades)
    generator = torch.Generator().manual_seed(recipe.plan.seed)
    adapter = start or new_adapter(
        backbone.model, recipe.rank, recipe.alpha_lora, generator, from_layer=recipe.from_layer
    )
    width = settings.feature_width(backbone.shape.width)
    head = GradeHead.fresh(recipe.head, width, len(grades), recipe.hidden, generator)
    probed = None
    if recipe.probing:
        before = Part(adapter, head)

        def fitted() -> GradeHead:
            grader = grader_of(backbone, before, settings)
            (features, targets), watched = (
                _some_features(grader, part, recipe.probed, recipe.plan.seed)
                for part in (train_on, dev)
            )
            return best_probe(features, targets, watched, before.head, recipe.objective)

        head = probed = _kept(folder, head, _digest(backbone, recipe, before, train_on), fitted)

    def evaluate(grader: PairGrader) -> Mapping[str, float]:
        found = grader.probabilities(dev.pairs)
        return {
            # Higher is better.
            MEASURE: -nll(found, dev.labels),
            "macro_f1": macro_f1_of(found, dev.labels),
        }

    task = GraderTask(
        backbone,
        Part(adapter, head),
        train_on.pairs,
        train_on.targets,
        recipe.objective,
        evaluate,
        settings,
        batch_size=recipe.batch_size,
        dropout=recipe.dropout,
        from_layer=recipe.from_layer,
        seed=recipe.plan.seed,
    )
    outcome = train(task, recipe.plan, folder, show)
    return Trained(probed, task.part(outcome.parameters), outcome, start)


def _kept(folder: Path, like: GradeHead, key: str, make: Callable[[], GradeHead]) -> GradeHead:
    """A probe with the tensors of another head, made once for a run.

    Fitted again it would differ in the last bits, and what was trained from the first one could not
    be gone on with.
    """
    from safetensors.torch import save_file

    path = folder / f"probe-{key}.safetensors"
    if path.is_file():
        found = read_safetensors(path)
        return GradeHead(like.kind, {name: found[name] for name in like.tensors})
    head = make()
    folder.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    save_file(head.tensors, aside)
    os.replace(aside, path)
    return head


def _digest(backbone: Backbone, recipe: Recipe, before: Part, data: Labelled) -> str:
    """Changes with whatever a probe follows from."""
    digest = hashlib.sha256(repr((backbone.identity.sha256, recipe, list(data.pairs))).encode())
    for tensor in (*before.adapter.tensors().values(), *before.head.tensors.values(), data.targets):
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _some_features(
    grader: PairGrader, part: Labelled, count: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Features and targets of so many of the pairs."""
    some = drawn(len(part.pairs), count, seed)
    features = grader.features([part.pairs[i] for i in some])
    return torch.from_numpy(features), part.targets[some]


def along(
    at: Callable[[float], PairwiseGrader], shifted: Labelled, alphas: Sequence[float] = ALPHAS
) -> dict[float, tuple[float, float]]:
    """Macro-F1 and negative log-likelihood of every α, of the graders `at` the points of the path.

    `shifted` are pairs that are unlike training (pseudo-OOD): dev that is like training always prefers
    α = 1, for that is what fine-tuning was for.
    """
    found = {}
    for alpha in alphas:
        p = at(alpha).probabilities(shifted.pairs)
        found[alpha] = (macro_f1_of(p, shifted.labels), nll(p, shifted.labels))
    return found


def likeliest(scores: Mapping[float, tuple[float, float]]) -> float:
    """The α of the least negative log-likelihood; of equal ones the last, which has learned most."""
    return min(list(scores)[::-1], key=lambda alpha: scores[alpha][1])


def macro_f1_of(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """Macro-F1 of the likeliest grades of probabilities [n, G] against labels [n]."""
    found = confusion(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return float(macro_f1(found))
