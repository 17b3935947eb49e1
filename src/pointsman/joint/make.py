"""The whole way to a selector, alone or together with a reader: train, calibrate, describe, save."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointsman.backbone.device import trains_in_bf16
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter
from pointsman.backbone.specialist import Specialist, save_specialist
from pointsman.joint.asked import Asked, digest
from pointsman.joint.card import joint_reader_card, selector_card
from pointsman.joint.em import (
    Iteration,
    Say,
    Show,
    best,
    reader_task,
    ready,
    train_together,
    warm_up,
)
from pointsman.joint.marked import first, marked
from pointsman.joint.measures import measure
from pointsman.joint.recipe import Both, Recipe
from pointsman.read.joined import as_read
from pointsman.read.reader import KIND as READER
from pointsman.read.reader import SpanReader
from pointsman.read.recipe import Asked as ReadAsked
from pointsman.read.recipe import calibrate_on
from pointsman.read.task import Part as ReaderPart
from pointsman.select.pointer import PointerHead
from pointsman.select.selector import KIND as SELECTOR
from pointsman.select.selector import ListSelector, candidate_width, is_linked
from pointsman.select.task import Part as SelectorPart
from pointsman.select.task import selector_of
from pointsman.training.loop import Plan, train

RANK, ALPHA, WIDTH = 16, 32.0, 128
MEASURE = "f1"

Card = Callable[[str, str, Mapping[str, Any], Mapping[str, Any]], str]
"""A name, the base's, a specialist's records of training and of numbers -> its card."""

WARM = Plan(measure="recall@1", epochs=2, learning_rate=3e-4, evaluations=1)
"""How a selector is taught by marked passages."""
WARM_READER = Plan(measure=None, epochs=2, learning_rate=3e-4, evaluations=1)
"""How a reader is, that has not seen passages together before."""


@dataclass(frozen=True, eq=False)
class Data:
    """What is learned from and chosen by; `record` says of the card what it is, and under which licence."""

    name: str
    train: Sequence[Asked]
    dev: Sequence[Asked]
    licence: str = ""

    def record(self) -> dict[str, Any]:
        """As plain values for the specialist's file."""
        return {
            "name": self.name,
            "train": len(self.train),
            "dev": len(self.dev),
            "candidates": max(len(each.passages) for each in (*self.train, *self.dev)),
            "licence": self.licence,
        }


@dataclass(frozen=True, eq=False)
class Made:
    """What came of it: the folders, dev's measures at every iteration (the start first), which was kept."""

    folders: tuple[Path, ...]
    history: Sequence[Mapping[str, float]]
    kept: int
    calibration: Mapping[str, float]


def fresh_selector(
    backbone: Backbone,
    seed: int,
    start: LoraAdapter | None = None,
    width: int = WIDTH,
    *,
    linked: bool = False,
) -> SelectorPart:
    """A selector that has learned nothing, on that adapter or on a fresh one, with a head of this width; a
    `linked` one sees which candidates name one another.
    """
    generator = torch.Generator().manual_seed(seed)
    adapter = start or new_adapter(backbone.model, RANK, ALPHA, generator)
    head = PointerHead.fresh(candidate_width(backbone.shape.width, linked), width, generator)
    return SelectorPart(adapter, head)


def tuned(recipe: Recipe, backbone: Backbone) -> Recipe:
    """The same recipe as this machine trains it best: bf16 where the processor multiplies it."""
    fast = trains_in_bf16(backbone.device)
    return replace(
        recipe,
        selector_plan=replace(recipe.selector_plan, bf16=fast),
        reader_plan=replace(recipe.reader_plan, bf16=fast),
    )


def warmed(
    backbone: Backbone,
    data: Data,
    start: SelectorPart,
    reader: SpanReader,
    recipe: Recipe,
    plan: Plan,
    folder: Path,
    show: Show | None = None,
) -> SelectorPart:
    """A selector taught by marked passages; `reader` answers on dev, of which the plan's measure is."""
    taught = warm_up(
        backbone,
        data.train,
        start,
        recipe,
        replace(plan, bf16=tuned(recipe, backbone).selector_plan.bf16),
        folder,
        lambda selector: measure(data.dev, selector, as_read(reader)).means(),
        None if show is None else partial(show, "selector"),
        whole=recipe.reader.joined,
    )
    return ready(taught) if recipe.reader.joined else taught


def warmed_reader(
    backbone: Backbone,
    data: Data,
    start: ReaderPart,
    recipe: Recipe,
    plan: Plan,
    folder: Path,
    show: Show | None = None,
) -> ReaderPart:
    """A reader taught by marked passages as the recipe's reader sees them; where none is marked, by the first
    in the order of retrieval.
    """
    joined = recipe.reader.joined
    shown = marked(data.train, joined=joined)
    shown = shown or first(data.train, recipe.selector.passages, joined=joined)
    recipe = tuned(recipe, backbone)
    plan = replace(plan, bf16=recipe.reader_plan.bf16)
    task = reader_task(backbone, start, shown, recipe, plan.seed)
    told = None if show is None else partial(show, "reader")
    return task.part(train(task, plan, folder, told).parameters)


def make_selector(
    backbone: Backbone,
    data: Data,
    start: SelectorPart,
    reader: SpanReader,
    recipe: Recipe,
    plan: Plan,
    run_folder: Path,
    folder: Path,
    *,
    command: str,
    show: Show | None = None,
) -> Made:
    """A selector taught by marked passages, saved to `folder`; `reader` answers on dev."""
    recipe = tuned(recipe, backbone)
    plan = replace(plan, bf16=recipe.selector_plan.bf16)
    part = warmed(backbone, data, start, reader, recipe, plan, run_folder, show)
    history = [
        measure(data.dev, selector_of(backbone, each, recipe.selector), as_read(reader)).means()
        for each in (start, part)
    ]
    training = {"command": command, "data": data.record(), "recipe": asdict(recipe)}
    training["plan"] = asdict(plan)
    _save_selector(backbone, part, recipe, folder, training, history, 1)
    return Made((folder,), history, 1, {})


def make_both(
    backbone: Backbone,
    data: Data,
    start: Both,
    recipe: Recipe,
    run_folder: Path,
    folder: Path,
    *,
    command: str,
    show: Show | None = None,
    say: Say | None = None,
) -> Made:
    """A selector and a reader trained together, saved to `folder` and to "FOLDER-reader".

    Of all iterations, the start among them, the one of the best F1 on dev is kept. The reader's
    confidence is calibrated on dev, on what the selector chooses.
    """
    recipe = tuned(recipe, backbone)

    def measured(both: Both) -> Mapping[str, float]:
        selector, reader = both.on(backbone, recipe)
        return measure(data.dev, selector, as_read(reader)).means()

    history = train_together(
        backbone,
        data.train,
        start,
        recipe,
        run_folder,
        measured,
        show,
        watched=digest(data.dev),
        say=say,
    )
    chosen = best(history, MEASURE)
    kept = history.index(chosen)
    measures = [{**each.measures, **_begun_with(each)} for each in history]
    training: dict[str, Any] = {
        "command": command,
        "data": data.record(),
        "recipe": asdict(recipe),
        "linked": is_linked(chosen.both.selector.head, backbone.shape.width),
    }
    _save_selector(backbone, chosen.both.selector, recipe, folder, training, measures, kept)
    selector, reader = chosen.both.on(backbone, recipe)
    calibration, errors = calibrate_on(as_read(reader), _as_read(data.dev, selector))
    beside = folder.with_name(f"{folder.name}-reader")
    settings = replace(recipe.reader, calibration=calibration).record()
    numbers = _numbers(measures, kept) | {"calibration": errors}
    card = joint_reader_card(beside.name, folder.name, backbone.identity.name, training, numbers)
    learned = chosen.both.reader
    _save(
        READER,
        backbone,
        learned.adapter,
        learned.head.tensors,
        settings,
        training,
        numbers,
        card,
        beside,
    )
    return Made((folder, beside), measures, kept, errors)


def run_name(what: str, data: Data, recipe: Recipe, start: object, backbone: Backbone) -> str:
    """A folder name that changes with the data, the recipe, the start and the base, and nothing else.

    Not with how many iterations there are: more of them go on after those.
    """
    recipe = replace(recipe, iterations=1)
    parts = (backbone.identity.sha256, digest(data.train), digest(data.dev), recipe, start)
    return f"{what}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def _save_selector(
    backbone: Backbone,
    part: SelectorPart,
    recipe: Recipe,
    folder: Path,
    training: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    kept: int,
) -> None:
    settings = recipe.selector.record()
    save_chooser(
        backbone,
        part.adapter,
        part.head.tensors,
        settings,
        training,
        history,
        kept,
        selector_card,
        folder,
    )


def save_chooser(
    backbone: Backbone,
    adapter: LoraAdapter,
    head: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    training: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    kept: int,
    describe: Card,
    folder: Path,
) -> None:
    """Save a selector of whatever kind, with its card; of the `history` of dev's measures one was `kept`."""
    numbers = _numbers(history, kept)
    card = describe(folder.name, backbone.identity.name, training, numbers)
    _save(SELECTOR, backbone, adapter, head, settings, training, numbers, card, folder)


def _save(
    kind: str,
    backbone: Backbone,
    adapter: LoraAdapter,
    head: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    training: Mapping[str, Any],
    numbers: Mapping[str, Any],
    card: str,
    folder: Path,
) -> None:
    specialist = Specialist(
        kind=kind,
        name=folder.name,
        base_sha256=backbone.identity.sha256,
        base_name=backbone.identity.name,
        adapter=adapter,
        head=head,
        settings=settings,
        training=training,
        numbers=numbers,
        card=card,
    )
    save_specialist(specialist, folder)


def _begun_with(iteration: Iteration) -> dict[str, float]:
    """What an iteration's E-step found, beside the measures."""
    found = {"entropy": iteration.entropy, "unanswered": iteration.unanswered}
    return {name: value for name, value in found.items() if value is not None}


def _numbers(history: Sequence[Mapping[str, float]], kept: int) -> dict[str, Any]:
    found = [dict(each) for each in history]
    return {
        "dev": {
            "measure": MEASURE,
            "best": found[kept][MEASURE],
            "step": kept,
            "history": found,
        }
    }


def _as_read(asked: Sequence[Asked], selector: ListSelector) -> list[ReadAsked]:
    """Questions with the passages that a selector puts before the reader."""
    selected = selector.select(
        [each.question for each in asked],
        [each.passages for each in asked],
        [each.relevance for each in asked],
    )
    return [
        ReadAsked(each.question, each.answers, tuple(chosen.of(each.passages)))
        for each, chosen in zip(asked, selected, strict=True)
    ]
