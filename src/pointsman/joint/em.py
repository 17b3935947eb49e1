"""DRO (arXiv 2505.03075): selector and reader trained together by EM over what the reader sees.

Every iteration estimates how well selections explain the answers by the reader as it is, and then takes
a step with each of the two on the weighed selections. Two ways to estimate:

sampled, the paper's: m selections of each question drawn from the selector, weighed by
w(z) ∝ p(y | x, d_z).
exact, ours: the reader looks at one passage at a time, so that one reading of the n candidates prices
every set of them. The selector climbs log Σ_z p(z | x) p(y | x, d_z) itself, and the reader's
selections are drawn from the exact posterior.

Reading passages one at a time, m selections of k cost n readings in place of m · k here too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.data.files import replacing
from pointsman.errors import InputError
from pointsman.joint.asked import Asked, digest, lists
from pointsman.joint.estimate import Estimate, estimate
from pointsman.joint.recipe import Both, Recipe
from pointsman.read.joined import find
from pointsman.read.marginal import MarginalTask
from pointsman.select.objectives import Supervised
from pointsman.select.selector import ListSelector
from pointsman.select.task import Objective, SelectorTask, read_lists
from pointsman.select.task import Part as SelectorPart
from pointsman.training.checkpoint import checkpoints
from pointsman.training.loop import Plan, Progress, train

Show = Callable[[str, Progress], None]
Measure = Callable[[Both], Mapping[str, float]]
"""The weights of selector and reader -> measures on dev, higher is better."""


@dataclass(frozen=True, eq=False)
class Iteration:
    """What an iteration gave: the weights, and dev's measures."""

    both: Both
    measures: Mapping[str, float]


def train_together(
    backbone: Backbone,
    asked: Sequence[Asked],
    start: Both,
    recipe: Recipe,
    folder: Path,
    measure: Measure,
    show: Show | None = None,
    *,
    fast: Backbone | None = None,
    read: Tensor | None = None,
) -> list[Iteration]:
    """All iterations in order, the start first.

    `folder` keeps every step: the same call goes on from the last whole one, and an interrupted
    training step from its last checkpoint. `fast` estimates, an encoder of the same weights that need
    not train; `read` is what a selector whose adapter stays read of the pairs, which is read here where it
    is not given. Raises InputError where there is no question.
    """
    fast = fast or backbone
    if not asked:
        raise InputError("there is no question to train a selector and a reader on")
    # What an adapter that stays says of the pairs stays as well.
    read = _read(fast, asked, start.selector, recipe, read)
    both = start
    history = [Iteration(both, _measured(both, folder / "start", measure))]
    for number in range(1, recipe.iterations + 1):
        here = folder / f"iteration-{number}"
        seeded = replace(recipe, seed=recipe.seed * 1_000 + number)
        found = estimate(fast, asked, both, seeded, here, read)
        both = _step(backbone, asked, both, found, seeded, here, read, show or _silent)
        history.append(Iteration(both, _measured(both, here, measure)))
    return history


def best(history: Sequence[Iteration], measure: str) -> Iteration:
    """The iteration of the best measure on dev, the earliest of equals."""
    return max(history, key=lambda each: each.measures[measure])


def forget(folder: Path) -> None:
    """Drop what earlier runs left in a folder, and nothing else that lies there."""
    for left in (folder / "start", folder / "selector", *folder.glob("iteration-*")):
        shutil.rmtree(left, ignore_errors=True)
    for checkpoint in checkpoints(folder):
        shutil.rmtree(checkpoint)


def warm_up(
    backbone: Backbone,
    asked: Sequence[Asked],
    start: SelectorPart,
    recipe: Recipe,
    plan: Plan,
    folder: Path,
    evaluate: Callable[[ListSelector], Mapping[str, float]],
    show: Callable[[Progress], None] | None = None,
    *,
    read: Tensor | None = None,
) -> SelectorPart:
    """A selector taught by the passages that are known to support the answers; `read` as above."""
    positives = [each.supporting for each in asked]
    if not any(positives):
        raise InputError("no question has a passage that is known to support its answer")
    read = _read(backbone, asked, start, recipe, read)
    task = _selector_task(
        backbone, asked, start, Supervised(positives), evaluate, recipe, plan, read
    )
    return task.part(train(task, plan, folder, show).parameters)


def _step(
    backbone: Backbone,
    asked: Sequence[Asked],
    before: Both,
    found: Estimate,
    recipe: Recipe,
    folder: Path,
    read: Tensor | None,
    show: Show,
) -> Both:
    """A step with each of the two on what was estimated."""
    selector, reader = before.selector, before.reader
    if recipe.trains != "reader":
        plan = replace(recipe.selector_plan, seed=recipe.seed)
        task = _selector_task(
            backbone, asked, selector, found.objective(recipe), _unmeasured, recipe, plan, read
        )
        show_selector = partial(show, f"{folder.name}: selector")
        outcome = train(task, plan, folder / "selector", show_selector)
        selector = task.part(outcome.parameters)
    if recipe.trains != "selector":
        plan = replace(recipe.reader_plan, seed=recipe.seed)
        shown = found.shown(asked, recipe)
        reading = MarginalTask(
            backbone,
            reader,
            shown,
            _unmeasured,
            settings=recipe.reader,
            find=find if recipe.reader.joined else None,
            batch_size=recipe.reader_batch,
            from_layer=recipe.from_layer,
            seed=plan.seed,
        )
        outcome = train(reading, plan, folder / "reader", partial(show, f"{folder.name}: reader"))
        reader = reading.part(outcome.parameters)
    return Both(selector, reader)


def _read(
    backbone: Backbone,
    asked: Sequence[Asked],
    part: SelectorPart,
    recipe: Recipe,
    known: Tensor | None,
) -> Tensor | None:
    """What an adapter that stays reads of the pairs, if it is not known; None where the adapter changes."""
    if not recipe.frozen:
        return None
    if known is not None:
        return known
    return read_lists(backbone, part.adapter, lists(asked), recipe.selector)


def _selector_task(
    backbone: Backbone,
    asked: Sequence[Asked],
    start: SelectorPart,
    objective: Objective,
    evaluate: Callable[[ListSelector], Mapping[str, float]],
    recipe: Recipe,
    plan: Plan,
    read: Tensor | None,
) -> SelectorTask:
    return SelectorTask(
        backbone,
        start,
        lists(asked),
        objective,
        evaluate,
        recipe.selector,
        data=digest(asked),
        read=read,
        batch_size=recipe.selector_batch,
        from_layer=recipe.from_layer,
        seed=plan.seed,
    )


def _measured(both: Both, folder: Path, measure: Measure) -> Mapping[str, float]:
    """Dev's measures, taken once."""
    path = folder / "measures.json"
    if path.is_file():
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return found
    found = dict(measure(both))
    with replacing(path) as file:
        json.dump(found, file)
    return found


def _unmeasured(_: object) -> Mapping[str, float]:
    """A step goes to its end; dev is looked at between iterations."""
    return {}


def _silent(what: str, progress: Progress) -> None:
    """Shows nothing."""
