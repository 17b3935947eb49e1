"""The whole way to a grader: train, choose the point of the path, calibrate, describe, save."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.specialist import Specialist, save_specialist
from pointsman.errors import ConfigError
from pointsman.grade.calibrate import Calibrated, calibrate
from pointsman.grade.card import grader_card
from pointsman.grade.grader import KIND
from pointsman.grade.objective import Objective
from pointsman.grade.pairwise import PairTexts
from pointsman.grade.recipe import (
    MEASURE,
    Labelled,
    Recipe,
    along,
    joined,
    likeliest,
    taught,
    train_grader,
)
from pointsman.grade.source import Source
from pointsman.grade.task import grader_of
from pointsman.training.loop import Outcome, Progress


@dataclass(frozen=True, eq=False)
class Made:
    """What came of it."""

    folder: Path
    outcome: Outcome
    alpha: float
    calibrated: Calibrated


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
    check_path(recipe.objective, recipe.probing, alpha, shifted, len(grades))
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
        alphas = along(lambda each: grader_of(backbone, trained.at(each), settings), shifted)
        alpha = likeliest(alphas)
    alpha = 1.0 if alpha is None else alpha
    part = trained.at(alpha)
    raw = grader_of(backbone, part, settings).probabilities(source.dev.pairs)
    calibrated = calibrate(raw, source.dev)
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
    numbers = numbers_of(trained.outcome, calibrated, alphas)
    identity = backbone.identity
    specialist = Specialist(
        kind=KIND,
        name=folder.name,
        base_sha256=identity.sha256,
        base_name=identity.name,
        adapter=part.adapter,
        head=part.head.tensors,
        settings=replace(settings, scaling=calibrated.scaling).record(),
        training=training,
        numbers=numbers,
        card=grader_card(folder.name, identity.name, training, numbers),
    )
    save_specialist(specialist, folder)
    return Made(folder, trained.outcome, alpha, calibrated)


def numbers_of(
    outcome: Outcome, calibrated: Calibrated, alphas: Mapping[float, tuple[float, float]]
) -> dict[str, Any]:
    """What a grader's record and card hold of how it did on dev, and of the path where one was walked."""
    numbers: dict[str, Any] = {
        "dev": {
            "measure": MEASURE,
            "best": calibrated.before.nll,
            "step": outcome.best_step,
        },
        "calibration": calibrated.record(),
    }
    if alphas:
        numbers["alpha"] = {f"{a:g}": {"macro_f1": f1, "nll": n} for a, (f1, n) in alphas.items()}
    return numbers


def run_name(source: Source, recipe: Recipe, backbone: Backbone) -> str:
    """A folder name that changes with the data, the recipe and the base, and with nothing else."""
    settings = sorted(asdict(recipe.on(backbone)).items())
    digest = source.digest(backbone.identity.sha256, settings, source.grading.names)
    return f"grader-{digest}"


def check_path(
    objective: Objective,
    probing: bool,
    alpha: float | None,
    shifted: Labelled | None,
    grades: int,
) -> None:
    """Raise ConfigError or InputError, before anything is trained, for what could not be had after."""
    if alpha is not None and not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie between 0 and 1, not {alpha}")
    if alpha not in (None, 1.0) and not probing:
        raise ConfigError(f"without probing there is no path, and no point {alpha:g} of it")
    if shifted is not None:
        shifted.check("pairs to choose alpha by", grades)
    # What is wrong with an objective is said when it is first computed.
    targets = torch.eye(grades)
    objective(torch.log_softmax(targets, dim=-1), targets)
