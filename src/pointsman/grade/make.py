"""The whole way to a grader: train, choose the point of the path, calibrate, describe, save."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.specialist import Specialist, save_specialist
from pointsman.data.splits import normalise
from pointsman.errors import ConfigError, InputError
from pointsman.evaluate.calibration import ece, nll, top_label
from pointsman.evaluate.groups import numbered
from pointsman.grade.card import grader_card
from pointsman.grade.grader import KIND
from pointsman.grade.objective import Objective
from pointsman.grade.pairwise import PairTexts
from pointsman.grade.recipe import (
    MEASURE,
    Labelled,
    Recipe,
    Trained,
    choose_alpha,
    joined,
    macro_f1_of,
    taught,
    train_grader,
)
from pointsman.grade.scaling import Scaling, choose
from pointsman.grade.source import Source
from pointsman.grade.task import grader_of
from pointsman.training.loop import Progress

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """A grader on dev: negative log-likelihood in nats, macro-F1, expected calibration error."""

    nll: float
    macro_f1: float
    ece: float

    @classmethod
    def of(cls, probabilities: npt.ArrayLike, labels: npt.NDArray[np.int64]) -> Measured:
        """Of probabilities [n, G] against grades [n]; the calibration error is of the likeliest grade."""
        # Rows of low precision may pass 1 by a little, which no likelihood may.
        given = np.minimum(np.asarray(probabilities, dtype=np.float64), 1)
        return cls(nll(given, labels), macro_f1_of(given, labels), ece(*top_label(given, labels)))


@dataclass(frozen=True, eq=False)
class Made:
    """What came of it. `after` is cross-fitted, so that no pair is scored by a calibration fitted to it."""

    folder: Path
    trained: Trained
    alpha: float
    scaling: Scaling
    before: Measured
    after: Measured


def make_grader(
    backbone: Backbone,
    source: Source,
    recipe: Recipe,
    run_folder: Path,
    folder: Path,
    *,
    command: str,
    licence: str = "",
    alpha: float | None = None,
    shifted: Labelled | None = None,
    start: LoraAdapter | None = None,
    pool: Sequence[PairTexts] = (),
    show: Callable[[Progress], None] | None = None,
) -> Made:
    """Train a grader, calibrate it on dev, and save it to `folder`.

    Of the unlabelled pairs `pool` it says itself how relevant they are, and is then trained again,
    from the beginning, on what it said and on the training pairs (self-training).

    `alpha` is the point of the path from the probe (0) to the end of fine-tuning (1); None: the one of
    the least negative log-likelihood on the pairs `shifted`, which should be unlike training, or 1
    without them. Fine-tuning begins with the adapter `start` where one is given. `command` and the
    data's `licence` go onto the card. Checkpoints lie in `run_folder`, and the same call goes on from
    them.

    Raises ConfigError, before anything is trained, for an α that cannot be had and for an objective
    that cannot be computed; what `train_grader` and `save_specialist` raise.
    """
    recipe, grades = recipe.on(backbone), source.grading.names
    _check(recipe, alpha, shifted, len(grades))
    trained = train_grader(
        backbone, source.train, source.dev, grades, recipe, run_folder, show, start=start
    )
    settings = recipe.settings(grades)
    if pool:
        said = grader_of(backbone, trained.at(1.0), settings).probabilities(pool)
        train_on = joined([source.train, taught(pool, said)])
        again = run_folder / f"taught-{hashlib.sha256(repr(list(pool)).encode()).hexdigest()[:12]}"
        trained = train_grader(
            backbone, train_on, source.dev, grades, recipe, again, show, start=start
        )
    alphas: Mapping[float, tuple[float, float]] = {}
    if alpha is None and shifted is not None and recipe.probing:
        alphas = choose_alpha(backbone, trained, settings, shifted)
        # Of equal ones the last, which has learned most.
        alpha = min(reversed(alphas), key=lambda each: alphas[each][1])
    alpha = 1.0 if alpha is None else alpha
    part = trained.at(alpha)
    raw = grader_of(backbone, part, settings).probabilities(source.dev.pairs)
    labels, groups = source.dev.labels, [normalise(query) for query, _ in source.dev.pairs]
    choice = choose(raw, labels, groups)
    before = Measured.of(raw, labels)
    after = Measured.of(crossed(type(choice.scaling), raw, labels, groups), labels)
    training = {
        "command": command,
        "data": source.record(licence),
        "recipe": asdict(recipe),
        "alpha": alpha,
        "taught": len(pool),
        "steps": trained.outcome.steps,
        "seconds": round(trained.outcome.seconds),
    }
    if licence:
        training["licences"] = {source.name: licence}
    numbers = {
        "dev": {"measure": MEASURE, "best": before.nll, "step": trained.outcome.best_step},
        "calibration": {
            "chosen": choice.scaling.kind,
            "before": asdict(before),
            "after": asdict(after),
        },
    }
    if alphas:
        numbers["alpha"] = {f"{a:g}": {"macro_f1": f1, "nll": n} for a, (f1, n) in alphas.items()}
    identity = backbone.identity
    specialist = Specialist(
        kind=KIND,
        name=folder.name,
        base_sha256=identity.sha256,
        base_name=identity.name,
        adapter=part.adapter,
        head=part.head.tensors,
        settings=replace(settings, scaling=choice.scaling).record(),
        training=training,
        numbers=numbers,
        card=grader_card(folder.name, identity.name, training, numbers),
    )
    save_specialist(specialist, folder)
    return Made(folder, trained, alpha, choice.scaling, before, after)


def crossed(
    kind: type[Scaling],
    probabilities: npt.ArrayLike,
    labels: npt.NDArray[np.int64],
    groups: Sequence[Hashable],
) -> npt.NDArray[np.float64]:
    """Probabilities [n, G], each fold of the `groups` [n] calibrated by the fit on all other folds.

    Raises InputError where there are fewer groups than folds.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    which = numbered(groups)
    count = int(which.max(initial=-1)) + 1
    if count < _FOLDS:
        raise InputError(f"{count} queries cannot be split into {_FOLDS} folds; give more")
    fold_of = which % _FOLDS
    out = np.empty_like(given)
    for fold in range(_FOLDS):
        mine = fold_of == fold
        out[mine] = kind.fit(given[~mine], labels[~mine]).apply(given[mine])
    return out


def run_name(source: Source, recipe: Recipe, backbone: Backbone) -> str:
    """A folder name that changes with the data, the recipe and the base, and with nothing else."""
    digest = hashlib.sha256()
    settings = sorted(asdict(recipe.on(backbone)).items())
    digest.update(repr((backbone.identity.sha256, settings, source.grading.names)).encode())
    for part in (source.train, source.dev):
        digest.update(repr(list(part.pairs)).encode())
        digest.update(part.targets.numpy().tobytes())
    return f"grader-{digest.hexdigest()[:12]}"


def _check(recipe: Recipe, alpha: float | None, shifted: Labelled | None, grades: int) -> None:
    if alpha is not None and not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie between 0 and 1, not {alpha}")
    if alpha not in (None, 1.0) and not recipe.probing:
        raise ConfigError(f"without probing there is no path, and no point {alpha:g} of it")
    if shifted is not None:
        shifted.check("pairs to choose alpha by", grades)
    _try(recipe.objective, grades)


def _try(objective: Objective, grades: int) -> None:
    """What is wrong with an objective is said when it is first computed: then now, not after probing."""
    targets = torch.eye(grades)
    objective(torch.log_softmax(targets, dim=-1), targets)
