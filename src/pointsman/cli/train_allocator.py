"""`pointsman train allocator`: who should answer, learned from what every agent said."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pointsman.cli.options import Json, Space
from pointsman.cli.output import Output
from pointsman.cli.places import cache_directory
from pointsman.cli.training import (
    LOG_EVERY,
    check_free,
    command_words,
    encoder_to_train,
    interruptible,
)
from pointsman.errors import ConfigError, InputError

if TYPE_CHECKING:
    from pointsman.defer.foreseen import Learned
    from pointsman.types import ReadingExample

EXAMPLES = """
Examples:
  pointsman train allocator my-space --data questions.json
  pointsman train allocator my-space --data questions.json --given --name fast
  pointsman train allocator my-space --data questions.json --look
  pointsman train allocator my-space --data questions.json --policy errors
  pointsman train allocator space --data q.json --policy surrogate --price 0.1

FILE holds a hundred questions or more, about ten articles or paragraphs or
more. --policy look, the default, looks at what agents said; with --look the
local reader also looks at the passages for it, which takes longer, here and
when questions are asked.

An allocator at my-space/specialists/NAME is used by
POINTSMAN_DEFER__ALLOCATOR=NAME, or by the line `allocator: NAME` under
`defer:` in my-space/pointsman.yaml. A changed price or `unit:` needs no
training (but of a surrogate), another agent does.
"""


class Measured(StrEnum):
    """How right an answer is."""

    em = "em"
    f1 = "f1"


class Policy(StrEnum):
    """How an allocator decides."""

    look = "look"
    errors = "errors"
    surrogate = "surrogate"


def allocator(
    context: typer.Context,
    space: Space,
    data: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="SQuAD file of 100 questions or more; may come again.",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is called.")] = "allocator",
    given: Annotated[
        bool,
        typer.Option("--given", help="From each question's own paragraph, not from what is found."),
    ] = False,
    policy: Annotated[
        Policy,
        typer.Option(
            help="look: ask one, look, ask on. errors, surrogate: decide before, by reading."
        ),
    ] = Policy.look,
    price: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            help="The one price of a surrogate, which needs it: right answers for one of the dearest.",
            show_default=False,
        ),
    ] = None,
    u: Annotated[
        float | None,
        typer.Option(
            "--u",
            metavar="U",
            min=0,
            help="The u of a surrogate's Φ^u, 1 by default.",
            show_default=False,
        ),
    ] = None,
    look: Annotated[
        bool,
        typer.Option(
            "--look", help="With the policy look: the reader checks the passages for each answer."
        ),
    ] = False,
    measure: Annotated[
        Measured,
        typer.Option(help="How right an answer is: em, exactly or not; f1, by its words."),
    ] = Measured.em,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="At most N questions.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where answers are kept as they come. By default in the cache directory.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train an allocator, which decides who answers.

    Every agent of the workspace is asked every question first, and what it
    says is kept: the same command goes on where it was stopped. An agent far
    away is paid for that. Then a cascade is learned that asks one, looks at
    what was said, and asks another only where that is worth its price.

    With --policy errors or surrogate an adapter is trained instead, which reads
    question and passages and names one agent before any is asked: by how likely
    each is right, for any price, or by the loss of Learning to Defer, for one.

    Of a question without an answer to say nothing is right. What an error of an
    agent weighs is 1, or `alpha:` beside its name in the settings.
    """
    from pointsman.backbone.specialist import check_name
    from pointsman.data.draw import drawn
    from pointsman.data.squad import read_squad
    from pointsman.defer.answered import ask_everybody
    from pointsman.defer.card import advised
    from pointsman.defer.make import make_allocator
    from pointsman.defer.make_foreseen import Plan, make_foreseeing
    from pointsman.defer.saved import check_allocator_replaceable
    from pointsman.types import Passage
    from pointsman.workspace import SETTINGS_FILE, SPECIALISTS, UNALLOCATED, Workspace

    check_name(name)
    cascade = policy is Policy.look
    if look and not cascade:
        raise ConfigError("only the policy look has anything to look at; leave --look out")
    if cascade and price is not None:
        raise ConfigError("the policy look serves any price; leave --price out")
    if u is not None and policy is not Policy.surrogate:
        raise ConfigError("--u is of a surrogate's loss; leave it out, or take --policy surrogate")
    plan = None if cascade else Plan(cast("Learned", policy.value), price, 1.0 if u is None else u)
    folder = space / SPECIALISTS / name
    output = Output(json)
    verb, said = ("is", "right on") if measure is Measured.em else ("has", "an F1 of")
    # The reader says what it can; how likely that is the allocator learns.
    overrides = {"defer.allocator": UNALLOCATED, "read.min_confidence": 0.0, "price": price}
    with Workspace.open(space, overrides=overrides) as workspace:
        check_free(folder, check_allocator_replaceable)
        examples = [each for file in data for each in read_squad(file)]
        if not any(each.answers for each in examples):
            raise InputError(f"{data[0]}: no question with an answer in it")
        examples = [examples[i] for i in drawn(len(examples), limit, 0)]
        questions = [each.question for each in examples]
        # Before anybody is paid: what they take may not be known, or a key not be there.
        units, unit = workspace.units, workspace.settings.defer.unit
        workspace.check_keys()
        with output.working("loading", every=LOG_EVERY) as working:
            if given:
                contexts = [[Passage(each.id, each.context, each.title)] for each in examples]
            else:
                pipeline = workspace.pipeline
                working.say(f"searching for {len(questions):,} questions")
                contexts = pipeline.contexts(questions)
            path = run or cache_directory() / "answers" / f"{_kept(workspace.path)}.jsonl"

            def show(what: str, done: int, total: int) -> None:
                working.say(f"{what}: {done:,} of {total:,}")

            with _kept_in(path):
                known = ask_everybody(
                    workspace.agents,
                    questions,
                    contexts,
                    [each.answers for each in examples],
                    _sources(examples),
                    path,
                    show,
                    workspace.agents_known_by,
                    workspace.asked_at_once,
                    measure.value,
                )
            files, words = ", ".join(file.name for file in data), command_words(context.obj or ())
            if plan is None:
                made = make_allocator(
                    workspace.backbone,
                    known,
                    units,
                    folder,
                    data=files,
                    command=words,
                    judge=workspace.judge if look else None,
                    show=show,
                    unit=unit,
                    alpha=workspace.alpha,
                )
            else:
                runs = path.with_name(f"{path.name}.runs") / policy.value
                with interruptible(runs):
                    made = make_foreseeing(
                        encoder_to_train(workspace.backbone_name, workspace.settings.device),
                        known,
                        units,
                        plan,
                        runs,
                        folder,
                        data=files,
                        command=words,
                        show=show,
                        fast=workspace.backbone,
                        unit=unit,
                        alpha=workspace.alpha,
                    )
        names = [agent.name for agent in workspace.agents]
    none = sum(not each.answers for each in examples)
    output.show(
        f"{folder}: learned from {made.questions:,} questions"
        f"{f', {none:,} of them without an answer' if none else ''}."
    )
    for agent, right in zip(names, made.right, strict=True):
        output.show(f"{agent} alone {verb} {said} {right:.1%}.")
    if any(units):
        output.show(f"Costs are in {unit}; 1 is the dearest agent asked every question, alone.")
    else:
        output.note(
            f"no agent takes any {unit}, so no price changes anything; with `unit: gflops` or `unit: seconds` "
            "under `defer:` it would"
        )
    for each in made.at:
        asked = ", ".join(f"{n} {share:.0%}" for n, share in zip(names, each.asked, strict=True))
        output.show(
            f"price {each.price:g}: {said} {each.right:.1%} at cost {each.cost:.3f}, worth "
            f"{each.gain.mean:+.1%} [{each.gain.low:.1%}, {each.gain.high:.1%}] against the best one "
            f"alone; asked: {asked}"
        )
    for agent, count in zip(names, made.failures, strict=True):
        if count:
            output.note(f"{agent} failed {count:,} times; the same command asks it again")
    promised = (
        "; it also says below which chance an answer is better not given, so that at most 5, 10 or 20 % of "
        "the given ones are wrong"
        if cascade and measure is Measured.em
        else ""
    )
    if price is not None:
        output.show(
            f"It serves this price alone. To use it, set in {SETTINGS_FILE}:",
            *(f"  {line}" for line in advised(name, price, unit)),
        )
    output.show(f"Its card is {folder / 'README.md'}{promised}.")
    output.document(
        asdict(made) | {"folder": str(folder), "agents": names, "answers": str(path), "unit": unit}
    )


def _sources(examples: Sequence[ReadingExample]) -> list[str]:
    """The article that each question is about; its paragraph where there are too few articles."""
    from pointsman.defer.answered import LEAST_SOURCES

    articles = [each.cluster for each in examples]
    enough = len(set(articles)) >= LEAST_SOURCES
    return articles if enough else [each.context for each in examples]


@contextmanager
def _kept_in(path: Path) -> Iterator[None]:
    """Ctrl-C says where the answers are that were given until then."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; the answers so far are in {path}, and the same command goes on from there"
        ) from None


def _kept(space: Path) -> str:
    return hashlib.sha256(str(space.resolve()).encode()).hexdigest()[:12]
