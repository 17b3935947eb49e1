"""The whole way to a fully fine-tuned grader: train, choose the point of the path, calibrate, save."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from pointsman.backbone.weights import locate
from pointsman.backbone.whole import check_only_over, whole_folder
from pointsman.grade.calibrate import calibrate
from pointsman.grade.card import grader_card
from pointsman.grade.full import FullRecipe, record, train_fully
from pointsman.grade.make import Made, check_path, numbers_of
from pointsman.grade.pretrained import GRADING_FILE
from pointsman.grade.recipe import Labelled, along, likeliest
from pointsman.grade.source import Source
from pointsman.training.loop import Progress


def make_full_grader(
    base: str | None,
    source: Source,
    recipe: FullRecipe,
    run_folder: Path,
    folder: Path,
    *,
    command: str,
    licence: str = "",
    alpha: float | None = None,
    shifted: Labelled | None = None,
    show: Callable[[Progress], None] | None = None,
    device: str | None = None,
) -> Made:
    """Train all weights of the encoder or classifier `base`, None the default,
    calibrate on dev, and save to `folder`.

    `folder` is then a model of Hugging Face's, used as `hf:folder`. α, `shifted`, `command`, `licence`
    and `run_folder` are as in `make_grader`. Raises what that raises, and what `train_fully` raises.
    """
    check_full_replaceable(folder)
    grades = source.grading.names
    check_path(recipe.objective, recipe.probing, alpha, shifted, len(grades))
    trained = train_fully(
        base, source.train, source.dev, grades, recipe, run_folder, show, device=device
    )
    alphas: Mapping[float, tuple[float, float]] = {}
    if alpha is None and shifted is not None and recipe.probing:
        alphas = along(trained.at, shifted)
        alpha = likeliest(alphas)
    alpha = 1.0 if alpha is None else alpha
    grader = trained.at(alpha)
    calibrated = calibrate(grader.probabilities(source.dev.pairs), source.dev)
    training = {
        "command": command,
        "data": source.record(licence),
        "recipe": record(recipe),
        "alpha": alpha,
        "steps": trained.outcome.steps,
        "seconds": round(trained.outcome.seconds),
    }
    numbers = numbers_of(trained.outcome, calibrated, alphas)
    card = grader_card(folder.name, locate(base).name, training, numbers)
    grading = {
        "grades": list(grades),
        "max_length": recipe.max_length,
        "scaling": calibrated.scaling.record(),
        "training": training,
        "numbers": numbers,
    }
    with whole_folder(folder, check_full_replaceable) as aside:
        grader.model.save_pretrained(aside)
        grader.tokenizer.save_pretrained(aside)
        (aside / GRADING_FILE).write_text(json.dumps(grading, indent=2) + "\n", encoding="utf-8")
        (aside / "README.md").write_text(card, encoding="utf-8")
    return Made(folder, trained.outcome, alpha, calibrated)


def full_run_name(source: Source, recipe: FullRecipe, base: str | None) -> str:
    """A folder name that changes with the data, the recipe and the base, and with nothing else."""
    digest = source.digest(locate(base).sha256, asdict(recipe), source.grading.names)
    return f"grader-full-{digest}"


def check_full_replaceable(folder: Path) -> None:
    """Raise SpecialistError where something other than such a grader would be overwritten."""
    check_only_over(folder, GRADING_FILE, "a fully fine-tuned grader")
