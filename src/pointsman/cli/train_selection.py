"""`pointsman train selection`: what the reader sees, and the reader with it."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

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


class Trained(StrEnum):
    """Which of the two learn."""

    both = "both"
    selector = "selector"
    reader = "reader"


PolicyOption = Annotated[
    PolicyName, typer.Option("--policy", metavar="KIND", help="sets, or pointer.")
]


def selection(
    context: typer.Context,
    name: SpecialistName,
    train: Train,
    dev: Dev,
    out: SpecialistOut,
    collection: Collection = None,
    candidates: Candidates = 20,
    policy: PolicyOption = PolicyName.sets,
    passages: Passages = 5,
    selector_folder: Annotated[
        Path | None,
        typer.Option(
            "--selector",
            metavar="DIR",
            help="A trained selector to begin as. By default one is trained first.",
            show_default=False,
        ),
    ] = None,
    start: Start = "default",
    reader: ReaderName = "default",
    grader: GraderName = "none",
    belief: Belief = 1.0,
    joined: Annotated[
        bool,
        typer.Option(
            "--joined",
            help="The reader sees all passages as one text, with yes and no before them.",
        ),
    ] = False,
    trains: Annotated[
        Trained, typer.Option(metavar="WHICH", help="both, selector or reader.")
    ] = Trained.both,
    frozen: Frozen = False,
    iterations: Annotated[int, typer.Option(metavar="N", min=1, help="Of EM.")] = 5,
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Selections drawn of each question.")
    ] = 4,
    seed: Seed = 0,
    limit: TrainingLimit = None,
    licence: Licence = "",
    backbone: BackboneName = None,
    run: RunFolder = None,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Train a selector and a reader together.

    Each learns what the other needs, from answers alone. NAME is the selector,
    NAME-reader the reader. Ctrl-C leaves what is done, and the same command
    goes on from there.
    """
    from pointsman.backbone.specialist import check_name, load_specialist
    from pointsman.errors import InputError
    from pointsman.joint.looking import LOOK
    from pointsman.joint.make import WARM, fresh_selector, make_both, run_name, warmed
    from pointsman.joint.recipe import Both, Recipe
    from pointsman.read.reader import KIND as READER
    from pointsman.read.reader import ReaderSettings, SpanReader
    from pointsman.read.recipe import read_trained
    from pointsman.select.pointer import PointerHead
    from pointsman.select.selector import KIND as SELECTOR
    from pointsman.select.selector import SelectorSettings
    from pointsman.select.task import Part

    check_name(name)
    folder = out / name
    for each in (folder, out / f"{name}-reader"):
        check_free(each)
    output = Output(json)
    with output.working("loading the encoder", every=LOG_EVERY) as working:
        base = encoder_to_train(backbone)
        begun_reader = reader_folder(reader)
        reading = ReaderSettings.of(load_specialist(begun_reader, READER).settings)
        if joined:
            reading = replace(reading, joined=True, max_length=512)
        settings = SelectorSettings(policy.value, passages, belief=belief)
        begun = None
        if selector_folder is not None:
            specialist = load_specialist(selector_folder, SELECTOR)
            if specialist.settings.get("policy") == LOOK:
                raise InputError(
                    f"{selector_folder}: a selector that looks first does not learn with the reader; begin as "
                    "one of --policy sets or pointer"
                )
            base.check_base(selector_folder.name, specialist.base_sha256)
            settings = replace(SelectorSettings.of(specialist.settings), belief=belief)
            begun = Part(specialist.adapter, PointerHead(specialist.head))
        data = questions(
            base, train, dev, collection or [], candidates, limit, seed, licence, grader, working
        )
        recipe = Recipe(
            selector=settings,
            reader=reading,
            samples=samples,
            iterations=iterations,
            trains=trains.value,
            frozen=frozen,
            seed=seed,
        )
        names = (start, reader, str(selector_folder))
        run = run or cache_directory() / "runs" / run_name("selection", data, recipe, names, base)
        shown = showing(working)
        with resumable(run, fresh):
            part = begun or warmed(
                base,
                data,
                fresh_selector(base, seed, begun_adapter(base, start)),
                SpanReader.load(base, begun_reader),
                recipe,
                replace(WARM, seed=seed),
                run / "selector",
                lambda _, progress: shown("selector first", progress),
            )
            made = make_both(
                base,
                data,
                Both(part, read_trained(base, begun_reader)),
                recipe,
                run,
                folder,
                command=command_words(context.obj or ()),
                show=shown,
            )
    report(output, made, run)
