"""What the two commands that train selectors share: their options, questions, runs and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.output import Output
from pointsman.cli.training import (
    Shown,
    fitting,
    grader_folder,
    interruptible,
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
  pointsman train selector fast --policy look --train a.json --dev b.json …
  pointsman train selection both --train train.json --dev dev.json --out try
  pointsman train selection hops --joined --train a.jsonl --dev b.jsonl …

A selector at my-space/specialists/NAME is used by POINTSMAN_SELECT__SELECTOR=NAME,
or by the line `selector: NAME` under `select:` in my-space/pointsman.yaml.
"""


class PolicyName(StrEnum):
    """How a selection comes about; see `select.chooser`."""

    sets = "sets"
    pointer = "pointer"


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


def questions(
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


def begun_adapter(base: Backbone, name: str) -> LoraAdapter | None:
    """The adapter that a selector begins with; None for a fresh one."""
    begun = fitting(base, name, specialist_to_start(name))
    return None if begun is None else begun.adapter


def refuse_given(context: typer.Context, flag: str, names: Sequence[str]) -> None:
    """Raises BadParameter for options that mean nothing beside that flag, where they were given."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.replace("_", "-")
            raise typer.BadParameter(f"{flag} takes no --{option}: leave it out")


def check_counted(candidates: int, passages: int) -> None:
    """Raises BadParameter for more sets than can be counted, before anything is searched for."""
    from pointsman.errors import ConfigError
    from pointsman.select.sets import check_countable

    try:
        check_countable(candidates, passages)
    except ConfigError as error:
        raise typer.BadParameter(f"--policy sets: {error}") from None


@contextmanager
def resumable(run: Path, fresh: bool) -> Iterator[None]:
    """A run that begins afresh or goes on; Ctrl-C says where what is done lies."""
    from pointsman.joint.em import forget

    if fresh:
        forget(run)
    with interruptible(run):
        yield


def showing(working: Working) -> Callable[[str, Progress], None]:
    """How a part of a run comes along, after its name."""
    shown = Shown(working)
    return lambda what, progress: shown(replace(progress, measures={}), f"{what}: ")


def report(output: Output, made: Made, run: Path | None) -> None:
    """Dev before and after, and where everything lies."""
    before, after = made.history[0], made.history[made.kept]
    lines = [
        f"{made.folders[0]}: F1 {after['f1']:.1f} on dev with {after['passages']:.1f} passages read, "
        f"the answer in the first {after['recall@1']:.1f} %, in the first 3 {after['recall@3']:.1f} %.",
        f"Before: F1 {before['f1']:.1f}, {before['recall@1']:.1f} % and {before['recall@3']:.1f} %.",
    ]
    entropies = [each["entropy"] for each in made.history if "entropy" in each]
    if entropies:
        told = f"The selector's entropy went from {entropies[0]:.2f} to {entropies[-1]:.2f} nats"
        nothing = int(made.history[-1]["unanswered"])
        lines.append(f"{told}; {nothing:,} questions taught nothing in the last iteration.")
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
