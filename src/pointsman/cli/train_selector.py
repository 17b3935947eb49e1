"""`pointsman train selector`, `pointsman train selection`: what the reader sees, and the reader with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from pointsman.cli.training import (
    LOG_EVERY,
    Shown,
    check_free,
    command_words,
    encoder_to_train,
    fitting,
    grader_folder,
    reader_folder,
    specialist_to_start,
)

if TYPE_CHECKING:
    from pointsman.backbone.encoder import Backbone
    from pointsman.backbone.lora import LoraAdapter
    from pointsman.cli.output import Working
    from pointsman.joint.asked import Asked
    from pointsman.joint.make import Data, Made
    from pointsman.training.loop import Progress

EXAMPLES = """
Examples:
  pointsman train selector first --train train.json --dev dev.json --out try
  pointsman train selection both --train train.json --dev dev.json --out try
  pointsman train selection hops --train hops.jsonl --dev dev.jsonl --out try

A selector at my-space/specialists/NAME is used by POINTSMAN_SELECT__SELECTOR=NAME,
or by the line `selector: NAME` under `select:` in my-space/pointsman.yaml.
"""


class PolicyName(StrEnum):
    """How a selection comes about; see `select.chooser`."""

    sets = "sets"
    pointer = "pointer"


class SelectorKind(StrEnum):
    """The same of a selector that is trained apart: one more looks through the reader first."""

    sets = "sets"
    pointer = "pointer"
    look = "look"


class Trained(StrEnum):
    """Which of the two learn."""

    both = "both"
    selector = "selector"
    reader = "reader"


Train = Annotated[
    list[Path],
    typer.Option(
        metavar="FILE",
        help="Questions: SQuAD .json, or .jsonl with paragraphs of their own.",
        show_default=False,
    ),
]
Dev = Annotated[
    list[Path],
    typer.Option(metavar="FILE", help="The same, to choose by.", show_default=False),
]
Collection = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="Where SQuAD questions are searched. By default their own paragraphs.",
        show_default=False,
    ),
]
Candidates = Annotated[int, typer.Option(metavar="N", min=1, help="Candidates a question.")]
PolicyOption = Annotated[
    PolicyName, typer.Option("--policy", metavar="KIND", help="sets, or pointer.")
]
Passages = Annotated[int, typer.Option(metavar="N", min=1, max=8, help="Passages chosen at most.")]
Start = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The specialist whose adapter the selector begins with: a folder, none, or by default the reader that ships.",
    ),
]
ReaderName = Annotated[str, typer.Option(metavar="NAME", help="A reader's folder, or default.")]
GraderName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Who grades and orders the candidates, as in the workspace: a grader's folder, default, or none.",
    ),
]
Belief = Annotated[
    float,
    typer.Option(
        metavar="X", min=0, help="How much of what the selector believes the reader is told."
    ),
]
Frozen = Annotated[bool, typer.Option("--frozen", help="Train the selector's head alone.")]


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
        _refuse_given(context, ("start", "belief", "frozen", "epochs", "learning_rate"))
    output = Output(json)
    with output.working("loading the encoder", every=LOG_EVERY) as working:
        base = encoder_to_train(backbone)
        data = _data(
            base, train, dev, collection or [], candidates, limit, seed, licence, grader, working
        )
        if policy is SelectorKind.look:
            working.say("looking at the candidates")
            made = _looking(base, data, reader, passages, folder, command_words(context.obj or ()))
            _report(output, made, None)
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
        with _resumable(run, fresh):
            made = make_selector(
                base,
                data,
                fresh_selector(base, seed, _adapter(base, start)),
                SpanReader.load(base, reader_folder(reader)),
                recipe,
                plan,
                run,
                folder,
                command=command_words(context.obj or ()),
                show=_showing(working),
            )
    _report(output, made, run)


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
        data = _data(
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
        showing = _showing(working)
        with _resumable(run, fresh):
            part = begun or warmed(
                base,
                data,
                fresh_selector(base, seed, _adapter(base, start)),
                SpanReader.load(base, begun_reader),
                recipe,
                replace(WARM, seed=seed),
                run / "selector",
                lambda _, progress: showing("selector first", progress),
            )
            made = make_both(
                base,
                data,
                Both(part, read_trained(base, begun_reader)),
                recipe,
                run,
                folder,
                command=command_words(context.obj or ()),
                show=showing,
            )
    _report(output, made, run)


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


def _refuse_given(context: typer.Context, names: Sequence[str]) -> None:
    """Options that mean nothing to a selector that looks."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.replace("_", "-")
            raise typer.BadParameter(f"--policy look takes no --{option}: leave it out")


def _data(
    base: Backbone,
    train: Sequence[Path],
    dev: Sequence[Path],
    collection: Sequence[Path],
    candidates: int,
    limit: int | None,
    seed: int,
    licence: str,
    grader: str,
    working: Working,
) -> Data:
    """Both parts with their candidates; no dev question stands in the training part."""
    from pointsman.data.splits import refuse_overlap
    from pointsman.grade.grader import PairGrader
    from pointsman.joint.make import Data
    from pointsman.joint.source import Judge, read_asked
    from pointsman.settings import GradeSettings

    judge = None
    if grader != "none":
        judge = Judge(PairGrader.load(base, grader_folder(grader)), GradeSettings().weight)

    def read(what: str, files: Sequence[Path], most: int | None) -> list[Asked]:
        working.say(f"reading the {what} questions")
        return read_asked(
            base,
            files,
            collection,
            candidates,
            limit=most,
            seed=seed,
            judge=judge,
            show=lambda doing, done, total: working.say(f"{doing}: {done:,} of {total:,}"),
        )

    learned, watched = read("training", train, limit), read("dev", dev, None)
    refuse_overlap(
        [each.question for each in learned],
        [each.question for each in watched],
        ", ".join(map(str, train)),
    )
    return Data(", ".join(dict.fromkeys(path.name for path in train)), learned, watched, licence)


def _adapter(base: Backbone, name: str) -> LoraAdapter | None:
    """The adapter that a selector begins with; None for a fresh one."""
    begun = fitting(base, name, specialist_to_start(name))
    return None if begun is None else begun.adapter


@contextmanager
def _resumable(run: Path, fresh: bool) -> Iterator[None]:
    """A run that begins afresh or goes on; Ctrl-C says where what is done lies."""
    from pointsman.joint.em import forget

    if fresh:
        forget(run)
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; a checkpoint is in {run}, and the same command goes on from there"
        ) from None


def _showing(working: Working) -> Callable[[str, Progress], None]:
    shown = Shown(working)
    return lambda what, progress: shown(replace(progress, measures={}), f"{what}: ")


def _report(output: Output, made: Made, run: Path | None) -> None:
    before, after = made.history[0], made.history[made.kept]
    lines = [
        f"{made.folders[0]}: F1 {after['f1']:.1f} on dev with {after['passages']:.1f} passages read, "
        f"the answer in the first {after['recall@1']:.1f} %, in the first 3 {after['recall@3']:.1f} %.",
        f"Before: F1 {before['f1']:.1f}, {before['recall@1']:.1f} % and {before['recall@3']:.1f} %.",
    ]
    if made.kept == 0:
        lines.append("No iteration was better on dev than the start, which is what was kept.")
    lines += [f"A card is {folder / 'README.md'}." for folder in made.folders]
    output.show(*lines)
    output.document(
        {
            "folders": [str(folder) for folder in made.folders],
            "kept": made.kept,
            "history": [dict(each) for each in made.history],
            "calibration": dict(made.calibration),
            "run": None if run is None else str(run),
        }
    )
