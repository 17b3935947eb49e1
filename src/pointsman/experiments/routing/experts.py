"""The experts of the routing tables, trained once: whole, and in two halves for honest utilities."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import WEIGHTS_FILE, LoraAdapter
from pointsman.backbone.specialist import load_specialist
from pointsman.backbone.weights import file_sha256
from pointsman.collection.judged import Judged
from pointsman.errors import SpecialistError
from pointsman.experiments.report import Show
from pointsman.experiments.routing.bed import RoutingSet
from pointsman.route.expert import Expert, domain_of, expert_of, save_expert
from pointsman.route.familiarity import Domain
from pointsman.route.recipe import Data, Recipe, identity, train_expert, train_union
from pointsman.route.task import Negatives
from pointsman.route.utility import two_folds


@dataclass(frozen=True, eq=False)
class BedExpert:
    """An expert for the tables: its adapter, and a digest that says which one it is."""

    set: str
    adapter: LoraAdapter
    digest: str
    domain: Domain
    negatives: Negatives
    steps: int


@dataclass(frozen=True, eq=False)
class Trained:
    """A set's expert, and its two halves: `halves[f]` has not seen the training queries of fold f."""

    whole: BedExpert
    halves: tuple[BedExpert, BedExpert]
    folds: npt.NDArray[np.int64]


def experts_of(
    sets: Sequence[RoutingSet],
    backbone: Backbone,
    recipe: Recipe,
    folder: Path,
    show: Show,
) -> dict[str, Trained]:
    """Every set's experts, from `folder` where they are there; what is missing is trained.

    A training that was interrupted goes on from its last checkpoint.
    """
    return {each.name: _trained(each, backbone, recipe, folder, show) for each in sets}


def _trained(
    each: RoutingSet, backbone: Backbone, recipe: Recipe, folder: Path, show: Show
) -> Trained:
    train = each.parts["train"]
    folds = two_folds(len(train), recipe.plan.seed)
    whole = trained_expert(each, train, None, backbone, recipe, folder, show)
    # What dev decided for the whole holds for its halves, which only have to be like it.
    smallest = int(np.bincount(folds).min())
    recipe = replace(recipe.fitting(smallest), negatives=(whole.negatives,))
    halves = [
        trained_expert(
            each,
            [query for query, fold in zip(train, folds, strict=True) if fold != f],
            f,
            backbone,
            recipe,
            folder,
            show,
        )
        for f in (0, 1)
    ]
    return Trained(whole, (halves[0], halves[1]), folds)


def trained_expert(
    each: RoutingSet,
    train: Sequence[Judged],
    fold: int | None,
    backbone: Backbone,
    recipe: Recipe,
    folder: Path,
    show: Show,
) -> BedExpert:
    """A set's expert from these training queries, from `folder` or trained; `fold` names a half."""
    data = Data(each.documents, list(train), list(each.parts["dev"]))
    place = folder / "-".join(
        [each.name, "whole" if fold is None else f"fold{fold}", identity(data, recipe, backbone)]
    )
    try:
        return kept_expert(each.name, place)
    except SpecialistError:  # not there yet, or not whole
        return _train(each.name, data, fold, backbone, recipe, place, show)


def kept_expert(name: str, place: Path) -> BedExpert:
    """An expert as it comes back from the disk, in halves: what is measured is what is kept."""
    specialist = load_specialist(place)
    expert = expert_of(specialist)
    assert expert.domain is not None
    digest = file_sha256(place / WEIGHTS_FILE)
    training = specialist.training
    return BedExpert(
        name, expert.adapter, digest, expert.domain, training["negatives"], int(training["steps"])
    )


def keep_expert(
    name: str,
    adapter: LoraAdapter,
    train: Sequence[Judged],
    backbone: Backbone,
    place: Path,
    *,
    training: Mapping[str, Any],
    dev: Mapping[str, Any],
) -> BedExpert:
    """Write an expert with the moments of its training queries, and take it as it comes back.

    `dev` holds the numbers that it was chosen by. Raises as `save_specialist` does.
    """
    domain = domain_of(backbone, [query.text for query in train])
    save_expert(
        Expert(name, adapter, backbone.identity.sha256, domain),
        backbone.identity,
        place,
        training=training,
        numbers={"dev": dev},
        card=f"# {name}\n",
    )
    return kept_expert(name, place)


def _train(
    name: str,
    data: Data,
    fold: int | None,
    backbone: Backbone,
    recipe: Recipe,
    place: Path,
    show: Show,
) -> BedExpert:
    label = f"{name}: training" + ("" if fold is None else f", half {fold + 1} of 2")
    started = time.monotonic()
    trained = train_expert(
        backbone,
        data,
        recipe,
        place.with_name(place.name + ".run"),
        lambda kind, progress: show(f"{label} ({kind})", progress.step, progress.steps),
    )
    outcome = trained.outcomes[trained.negatives]
    return keep_expert(
        name,
        trained.adapter,
        data.train,
        backbone,
        place,
        training={
            "recipe": asdict(recipe),
            "negatives": trained.negatives,
            "steps": outcome.steps,
            "seconds": round(time.monotonic() - started),
        },
        dev={"measure": recipe.plan.measure, "best": trained.best, "base": trained.base},
    )


def union_of(
    sets: Sequence[RoutingSet],
    trained: Mapping[str, Trained],
    backbone: Backbone,
    recipe: Recipe,
    folder: Path,
    show: Show,
) -> BedExpert:
    """The multi-task rival: one adapter on all sets, of the experts' rank and steps together."""
    data = [
        Data(each.documents, list(each.parts["train"]), list(each.parts["dev"])) for each in sets
    ]
    recipe = replace(
        recipe,
        name=f"{recipe.name}-union",
        rank=recipe.rank * len(sets),
        alpha=recipe.alpha * len(sets),
    )
    steps = sum(trained[each.name].whole.steps for each in sets)
    digest = hashlib.sha256(repr([identity(each, recipe, backbone) for each in data]).encode())
    place = folder / f"union-{steps}-{digest.hexdigest()[:12]}"
    try:
        return kept_expert("union", place)
    except SpecialistError:
        adapter, outcome = train_union(
            backbone,
            data,
            recipe,
            steps,
            place.with_name(place.name + ".run"),
            lambda progress: show("union: training", progress.step, progress.steps),
        )
        return keep_expert(
            "union",
            adapter,
            [query for each in data for query in each.train],
            backbone,
            place,
            training={
                "recipe": asdict(recipe),
                "negatives": recipe.negatives[0],
                "steps": outcome.steps,
            },
            dev={"measure": recipe.plan.measure, "best": outcome.best},
        )
