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
    check_counted,
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


class Trained(StrEnum):
    """Which of the two learn."""

    both = "both"
    selector = "selector"
    reader = "reader"


class LooksName(StrEnum):
    """Which selections a pointer's estimate looks at."""

    drawn = "drawn"
    likeliest = "likeliest"


PolicyOption = Annotated[
    PolicyName | None,
    typer.Option(
        "--policy",
        metavar="KIND",
        help="sets, or pointer. By default sets, and pointer with --joined.",
        show_default=False,
    ),
]


def selection(
    context: typer.Context,
    name: SpecialistName,
    train: Train,
    dev: Dev,
    out: SpecialistOut,
    collection: Collection = None,
    candidates: Candidates = 20,
    policy: PolicyOption = None,
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
        int, typer.Option(metavar="N", min=1, help="Selections looked at of each question.")
    ] = 4,
    looks: Annotated[
        LooksName,
        typer.Option(
            metavar="WHICH", help="A pointer's selections: drawn by chance, or the likeliest."
        ),
    ] = LooksName.drawn,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Of each iteration.")] = 1,
    selector_rate: Annotated[
        float, typer.Option(metavar="X", help="The selector's learning rate at its peak.")
    ] = 2e-4,
    reader_rate: Annotated[
        float, typer.Option(metavar="X", help="The reader's learning rate at its peak.")
    ] = 1e-4,
    seed: Seed = 0,
    limit: TrainingLimit = None,
    licence: Licence = "",
    backbone: BackboneName = None,
    run: RunFolder = None,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Train a selector and a reader together.

    Each learns what the other needs, from answers alone; where passages are
    marked as supporting them, the selector is taught by those first. NAME is
    the selector, NAME-reader the reader. Ctrl-C leaves what is done, and the
    same command goes on from there, also with more --iterations.
    """
    from pointsman.backbone.specialist import check_name, load_specialist
    from pointsman.errors import InputError
    from pointsman.joint.looking import LOOK
    from pointsman.joint.make import (
        WARM,
        WARM_READER,
        fresh_selector,
        make_both,
        run_name,
        warmed,
        warmed_reader,
    )
    from pointsman.joint.recipe import Both, Recipe
    from pointsman.read.reader import KIND as READER
    from pointsman.read.reader import ReaderSettings, SpanReader
    from pointsman.read.recipe import read_trained
    from pointsman.select.pointer import PointerHead
    from pointsman.select.selector import KIND as SELECTOR
    from pointsman.select.selector import SelectorSettings
    from pointsman.select.task import Part

    check_name(name)
    if selector_folder is not None:
        refuse_given(context, "--selector", ("policy", "passages", "start"))
    if joined and policy is PolicyName.sets:
        raise typer.BadParameter(
            "a reader that sees passages together cannot say what each set is worth; with --joined take "
            "--policy pointer"
        )
    chosen = policy or (PolicyName.pointer if joined else PolicyName.sets)
    if selector_folder is None and chosen is PolicyName.sets:
        check_counted(candidates, passages)
        if looks is LooksName.likeliest:
            raise typer.BadParameter(
                "--looks likeliest is a pointer's: --policy sets counts every set"
            )
    folder = out / name
    for each in (folder, out / f"{name}-reader"):
        check_free(each)
    output = Output(json)
    with output.working("loading the encoder", every=LOG_EVERY) as working:
        base = encoder_to_train(backbone)
        begun_reader = reader_folder(reader)
        reading = ReaderSettings.of(load_specialist(begun_reader, READER).settings)
        unseen = joined and not reading.joined
        if joined:
            reading = replace(reading, joined=True, max_length=512)
        settings = SelectorSettings(chosen.value, passages, belief=belief)
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
        usual = Recipe()
        recipe = Recipe(
            selector=settings,
            reader=reading,
            samples=samples,
            iterations=iterations,
            looks=looks.value,
            trains=trains.value,
            frozen=frozen,
            selector_plan=replace(usual.selector_plan, epochs=epochs, learning_rate=selector_rate),
            reader_plan=replace(usual.reader_plan, epochs=epochs, learning_rate=reader_rate),
            seed=seed,
        )
        names = (start, reader, str(selector_folder))
        run = run or cache_directory() / "runs" / run_name("selection", data, recipe, names, base)
        shown = showing(working)
        with resumable(run, fresh):
            part = begun or fresh_selector(
                base, seed, begun_adapter(base, start), linked=reading.joined
            )
            # Without a marked passage all is learned from answers: the selector begins knowing nothing.
            if begun is None and any(each.supporting for each in data.train):
                part = warmed(
                    base,
                    data,
                    part,
                    SpanReader.load(base, begun_reader),
                    recipe,
                    replace(WARM, seed=seed),
                    run / "selector",
                    lambda _, progress: shown("selector first", progress),
                )
            learned = read_trained(base, begun_reader)
            if unseen:  # it has read passages one at a time so far
                learned = warmed_reader(
                    base,
                    data,
                    learned,
                    recipe,
                    replace(WARM_READER, seed=seed),
                    run / "reader",
                    lambda _, progress: shown("reader first", progress),
                )
            made = make_both(
                base,
                data,
                Both(part, learned),
                recipe,
                run,
                folder,
                command=command_words(context.obj or ()),
                show=shown,
                say=working.say,
            )
    report(output, made, run)
