"""`pointsman train selector`: what the reader sees."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.options import (
    BackboneName,
    Fresh,
    Json,
    Licence,
    RunFolder,
    Seed,
    SpecialistName,
    SpecialistOut,
    TrainingLimit,
)
from pointsman.cli.output import Output
from pointsman.cli.places import cache_directory
from pointsman.cli.selecting import (
    Belief,
    Candidates,
    Collection,
    Dev,
    Frozen,
    GraderName,
    Passages,
    PolicyName,
    ReaderName,
    Start,
    Train,
    begun_adapter,
    questions,
    refuse_given,
    report,
    resumable,
    showing,
)
from pointsman.cli.training import (
    LOG_EVERY,
    check_free,
    command_words,
    encoder_to_train,
    reader_folder,
)

if TYPE_CHECKING:
    from pointsman.backbone.encoder import Backbone
    from pointsman.joint.make import Data, Made


class SelectorKind(StrEnum):
    """The same of a selector that is trained apart: one more looks through the reader first."""

    sets = "sets"
    pointer = "pointer"
    look = "look"


def selector(
    context: typer.Context,
    name: SpecialistName,
    train: Train,
    dev: Dev,
    out: SpecialistOut,
    collection: Collection = None,
    candidates: Candidates = 20,
    policy: Annotated[
        SelectorKind, typer.Option("--policy", metavar="KIND", help="sets, pointer, or look.")
    ] = SelectorKind.sets,
    passages: Passages = 5,
    start: Start = "default",
    reader: ReaderName = "default",
    grader: GraderName = "none",
    belief: Belief = 1.0,
    frozen: Frozen = False,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="By default 2.", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="At its peak. By default 0.0003.", show_default=False),
    ] = None,
    seed: Seed = 0,
    limit: TrainingLimit = None,
    licence: Licence = "",
    backbone: BackboneName = None,
    run: RunFolder = None,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Train a selector, which chooses what the reader sees.

    It is taught by passages that are known to support the answers: a SQuAD
    question's own paragraph, or those that are marked. Ctrl-C leaves a
    checkpoint, and the same command goes on from it.

    With --policy look the reader looks at all candidates first, and what it
    saw is weighed beside rank and wording, by the answers alone: the most
    accurate here, and the quickest to train. It takes no --start, --belief,
    --frozen, --epochs or --learning-rate.
    """
    from pointsman.backbone.specialist import check_name
    from pointsman.joint.make import WARM, fresh_selector, make_selector, run_name
    from pointsman.joint.recipe import Recipe
    from pointsman.read.reader import SpanReader
    from pointsman.select.selector import SelectorSettings

    check_name(name)
    folder = out / name
    check_free(folder)
    if policy is SelectorKind.look:
        refuse_given(
            context, "--policy look", ("start", "belief", "frozen", "epochs", "learning_rate")
        )
    output = Output(json)
    with output.working("loading the encoder", every=LOG_EVERY) as working:
        base = encoder_to_train(backbone)
        data = questions(
            base, train, dev, collection or [], candidates, limit, seed, licence, grader, working
        )
        if policy is SelectorKind.look:
            working.say("looking at the candidates")
            made = _looking(base, data, reader, passages, folder, command_words(context.obj or ()))
            report(output, made, None)
            return
        recipe = Recipe(
            selector=SelectorSettings(PolicyName(policy).value, passages, belief=belief),
            frozen=frozen,
            seed=seed,
        )
        plan = replace(
            WARM,
            seed=seed,
            epochs=epochs or WARM.epochs,
            learning_rate=WARM.learning_rate if learning_rate is None else learning_rate,
        )
        run = run or cache_directory() / "runs" / run_name(
            "selector", data, recipe, (start, plan), base
        )
        with resumable(run, fresh):
            made = make_selector(
                base,
                data,
                fresh_selector(base, seed, begun_adapter(base, start)),
                SpanReader.load(base, reader_folder(reader)),
                recipe,
                plan,
                run,
                folder,
                command=command_words(context.obj or ()),
                show=showing(working),
            )
    report(output, made, run)


def _looking(
    base: Backbone, data: Data, reader: str, passages: int, folder: Path, command: str
) -> Made:
    """A selector that looks through a reader, as that one reads."""
    from pointsman.backbone.specialist import load_specialist
    from pointsman.joint.looking import LookSettings
    from pointsman.joint.make_look import make_look
    from pointsman.read.reader import KIND, ReaderSettings
    from pointsman.read.recipe import read_trained

    looking = reader_folder(reader)
    reads = ReaderSettings.of(load_specialist(looking, KIND).settings)
    return make_look(
        base,
        data,
        read_trained(base, looking),
        LookSettings(passages, reads),
        folder,
        command=command,
    )
