"""The whole way to a query expert: train, compare with the base, describe, save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pointsman.backbone.encoder import Backbone
from pointsman.route.card import expert_card
from pointsman.route.expert import Expert, domain_of, save_expert
from pointsman.route.recipe import Recipe, TrainedExpert, identity, train_expert
from pointsman.route.source import Source
from pointsman.route.task import Negatives
from pointsman.route.utility import MEASURE
from pointsman.training.loop import Progress
from pointsman.types import FloatArray

_ADAPTER = "expert:made"


def make_expert(
    backbone: Backbone,
    source: Source,
    recipe: Recipe,
    run_folder: Path,
    folder: Path,
    *,
    command: str,
    licence: str = "",
    weigh: Callable[[FloatArray], float] | None = None,
    show: Callable[[Negatives, Progress], None] | None = None,
) -> TrainedExpert:
    """Train an expert and save it to `folder`, if it beats the base on dev; else nothing is written.

    `command` and the data's `licence` go onto the card. `weigh` says from the dev queries' vectors
    [n, d] by the expert what vectors should count for in hybrid search. Checkpoints lie in `run_folder`, a folder for
    each kind of negatives, and the same call goes on from them. Raises what `train_expert` and
    `save_specialist` raise.
    """
    trained = train_expert(backbone, source.data, recipe, run_folder, show)
    if not trained.helps:
        return trained
    training = {
        "command": command,
        "data": source.record(licence),
        "recipe": asdict(recipe),
        "negatives": trained.negatives,
        "steps": trained.outcomes[trained.negatives].steps,
        "seconds": round(sum(outcome.seconds for outcome in trained.outcomes.values())),
    }
    if licence:
        training["licences"] = {source.name: licence}
    numbers: dict[str, Any] = {
        "dev": {"measure": MEASURE, "best": trained.best, "base": trained.base}
    }
    texts = [query.text for query in source.data.train]
    domain = domain_of(backbone, texts)
    if weigh is not None:
        backbone.add_adapter(_ADAPTER, trained.adapter)
        dev = [query.text for query in source.data.dev]
        weight = weigh(backbone.encode(dev, _ADAPTER, prompt="query"))
        domain = replace(domain, dense_weight=weight)
        numbers["dense_weight"] = weight
    identity = backbone.identity
    save_expert(
        Expert(folder.name, trained.adapter, identity.sha256, domain),
        identity,
        folder,
        training=training,
        numbers=numbers,
        card=expert_card(folder.name, identity.name, training, numbers),
    )
    return trained


def run_name(source: Source, recipe: Recipe, backbone: Backbone) -> str:
    """A folder name that changes with the data, the recipe and the base, and with nothing else."""
    return f"expert-{identity(source.data, recipe.on(backbone), backbone)}"
