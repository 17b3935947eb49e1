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
from pointsman.read.marginal import MarginalTask, Shown
from pointsman.read.task import Part as ReaderPart
from pointsman.select.objectives import Supervised, Whole
from pointsman.select.selector import ListSelector
from pointsman.select.sets import check_countable
from pointsman.select.task import Objective, SelectorTask, read_lists
from pointsman.select.task import Part as SelectorPart
from pointsman.training.checkpoint import checkpoints
from pointsman.training.loop import Plan, Progress, train

DOUBT = 6.0
"""Nats of score that stopping loses after the warm-up. Where it was surer than 0.9 that nothing was missing,
all that supports had been chosen for 42 % of the questions of dev parts (hotpotqa, 2wiki).
"""

Show = Callable[[str, Progress], None]
Say = Callable[[str], None]
Measure = Callable[[Both], Mapping[str, float]]
"""The weights of selector and reader -> measures on dev, higher is better."""


@dataclass(frozen=True, eq=False)
class Iteration:
    """What an iteration gave: the weights, and dev's measures; and what it began with: the `entropy` of the
    selector in nats, and how many questions were `unanswered` in all that was looked at, so that they
    teach nothing. The start began with nothing.
    """

    both: Both
    measures: Mapping[str, float]
    entropy: float | None = None
    unanswered: int | None = None


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
    watched: str = "",
    say: Say | None = None,
) -> list[Iteration]:
    """All iterations in order, the start first.

    `folder` keeps every step: the same call goes on from the last whole one, and an interrupted
    training step from its last checkpoint. `fast` estimates, an encoder of the same weights that need
    not train; `read` is what a selector whose adapter stays read of the pairs, which is read here where it
    is not given. `watched` tells what `measure` looks at from anything else. What is drawn and measured
    is said to `say`. A selector that has collapsed onto one selection of each question stays as it is from
    there on. Raises InputError where there is no question, or none whose answer stands in anything that
    the selector looks at; ConfigError for more sets than can be counted.
    """
    fast, say = fast or backbone, say or _unsaid
    if not asked:
        raise InputError("there is no question to train a selector and a reader on")
    if recipe.selector.policy == "sets":
        most = max(len(each.passages) for each in asked)
        check_countable(most, recipe.selector.passages)
    # What an adapter that stays says of the pairs stays as well.
    read = _read(fast, asked, start.selector, recipe, read)
    both = start
    say("measuring the start on dev")
    history = [Iteration(both, _measured(both, folder / "start", measure, watched))]
    for number in range(1, recipe.iterations + 1):
        here = folder / f"iteration-{number}"
        seeded = replace(recipe, seed=recipe.seed * 1_000 + number)
        say(f"iteration {number}: reading what the selector looks at")
        found = estimate(fast, asked, both, seeded, here, read)
        say(f"iteration {number}: {_estimated(found, len(asked), seeded)}")
        both = _step(backbone, asked, both, found, seeded, here, read, show or _silent)
        say(f"iteration {number}: measuring on dev")
        measures = _measured(both, here, measure, watched)
        history.append(Iteration(both, measures, found.entropy, found.unanswered))
    return history


def _estimated(found: Estimate, asked: int, recipe: Recipe) -> str:
    """What an E-step came to, in words. Raises InputError where it teaches nothing."""
    if found.unanswered == asked:
        raise InputError(
            f"no answer to any of the {asked:,} questions stands in what was selected for them: there is "
            "nothing to learn from"
        )
    words = [f"the selector's entropy is {found.entropy:.3f} nats"]
    if recipe.trains != "reader" and not found.tells(recipe):
        words.append("it stays as it is, for it draws nothing to choose between")
    if found.unanswered:
        words.append(f"{found.unanswered:,} of {asked:,} questions have no answer there")
    return "; ".join(words)


def best(history: Sequence[Iteration], measure: str) -> Iteration:
    """The iteration of the best measure on dev, the earliest of equals."""
    return max(history, key=lambda each: each.measures[measure])


def forget(folder: Path) -> None:
    """Drop what earlier runs left in a folder, and nothing else that lies there."""
    for left in (
        *(folder / each for each in ("start", "selector", "reader")),
        *folder.glob("iteration-*"),
    ):
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
    whole: bool = False,
) -> SelectorPart:
    """A selector taught by the passages that are known to support the answers; `read` as above.

    Each of them should come first; taught by the `whole`, they should come all, and nothing else. That is
    for a reader that sees them together: it needs them all, and what stands beside them misleads it.
    """
    positives = [each.supporting for each in asked]
    if not any(positives):
        raise InputError("no question has a passage that is known to support its answer")
    read = _read(backbone, asked, start, recipe, read)
    objective = (Whole if whole else Supervised)(positives)
    task = _selector_task(backbone, asked, start, objective, evaluate, recipe, plan, read)
    return task.part(train(task, plan, folder, show).parameters)


def ready(taught: SelectorPart) -> SelectorPart:
    """A selector that was taught by the whole, as EM begins with it.

    It learned to stop where all that is marked was chosen, and is far too sure that this is so: which
    passages come next it knows better. What stopping is worth to the reader is what EM finds out, if only
    it draws selections that go on.
    """
    return replace(taught, head=taught.head.loth_to_stop(DOUBT))


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
    if recipe.trains != "reader" and found.tells(recipe):
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
        reading = reader_task(backbone, reader, shown, recipe, plan.seed)
        outcome = train(reading, plan, folder / "reader", partial(show, f"{folder.name}: reader"))
        reader = reading.part(outcome.parameters)
    return Both(selector, reader)


def reader_task(
    backbone: Backbone, start: ReaderPart, shown: Sequence[Shown], recipe: Recipe, seed: int
) -> MarginalTask:
    """A reader learning from what it is shown, as the recipe says."""
    return MarginalTask(
        backbone,
        start,
        shown,
        _unmeasured,
        settings=recipe.reader,
        find=find if recipe.reader.joined else None,
        batch_size=recipe.reader_batch,
        from_layer=recipe.from_layer,
        seed=seed,
    )


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


def _measured(both: Both, folder: Path, measure: Measure, watched: str) -> Mapping[str, float]:
    """Dev's measures, taken once of the same weights."""
    path = folder / "measures.json"
    of = f"{both.digest} {watched}"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["of"] == of:
            found: dict[str, float] = kept["measures"]
            return found
    except (FileNotFoundError, ValueError, KeyError):
        pass  # not there, not whole, or of an earlier version: measured again
    found = dict(measure(both))
    with replacing(path) as file:
        json.dump({"of": of, "measures": found}, file)
    return found


def _unmeasured(_: object) -> Mapping[str, float]:
    """A step goes to its end; dev is looked at between iterations."""
    return {}


def _silent(what: str, progress: Progress) -> None:
    """Shows nothing."""


def _unsaid(what: str) -> None:
    """Says nothing."""
