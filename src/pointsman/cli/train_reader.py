"""`pointsman train reader`: a reader from questions and paragraphs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.options import BackboneName, Fresh, Json, RunFolder, SpecialistOut
from pointsman.cli.output import Output, duration
from pointsman.cli.places import cache_directory
from pointsman.cli.training import (
    LOG_EVERY,
    Shown,
    check_free,
    command_words,
    drop_checkpoints,
    interruptible,
)
from pointsman.errors import ConfigError, InputError

if TYPE_CHECKING:
    from pointsman.backbone.encoder import Backbone
    from pointsman.read.recipe import Recipe
    from pointsman.types import ReadingExample

    Sets = dict[str, list[ReadingExample]]

EXAMPLES = """
Examples:
  pointsman train reader --train train.json --dev dev.json --out readers
  pointsman train reader --data test-bed --out my-space/specialists
  pointsman train reader --data test-bed --limit 200 --epochs 1 --out try

A reader at my-space/specialists/NAME is used by POINTSMAN_READ__READER=NAME,
or by the line `reader: NAME` under `read:` in my-space/pointsman.yaml.
"""


def reader(
    context: typer.Context,
    out: SpecialistOut,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The test bed: its train and dev parts.", show_default=False
        ),
    ] = None,
    train_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--train", metavar="FILE", help="SQuAD file; may come again.", show_default=False
        ),
    ] = None,
    dev_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--dev", metavar="FILE", help="SQuAD file; may come again.", show_default=False
        ),
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is called.")] = "reader",
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="By default 3.", show_default=False)
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Rank of the adapter. By default 32.", show_default=False
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="At its peak. By default 0.001.", show_default=False),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Windows a step. By default 32.", show_default=False),
    ] = None,
    pretrain: Annotated[
        bool,
        typer.Option(help="Practise first on questions made from the passages' own sentences."),
    ] = True,
    layers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Run no more than the encoder's first layers. By default all.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A trained reader to begin as, without practice.",
            show_default=False,
        ),
    ] = None,
    teachers: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            metavar="DIR",
            help="A trained reader to learn from as well; may come again.",
            show_default=False,
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(metavar="X", help="In the adapter. By default 0.1.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of all that is random. By default 0.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="At most N questions a set.", show_default=False),
    ] = None,
    backbone: BackboneName = None,
    run: RunFolder = None,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Train a reader, which finds answers in passages.

    Questions and paragraphs come from the test bed (--data) or from SQuAD
    files (--train, --dev). Ctrl-C leaves a checkpoint, and the same command
    goes on from it.
    """
    sources = _Sources.of(data, train_files or [], dev_files or [])
    folder = out / name
    check_free(folder)
    from pointsman.backbone.device import trains_in_bf16
    from pointsman.read.recipe import (
        Recipe,
        make_reader,
        read_trained,
        training_backbone,
    )
    from pointsman.training.distributed import is_main_process, several_processes

    if fresh and several_processes():
        raise typer.BadParameter(
            "among several processes, delete the run's folder instead of --fresh"
        )
    # Under torchrun one process speaks and writes for all.
    output = Output(json or not is_main_process())
    with output.working("reading the data", every=LOG_EVERY) as working:
        train_sets, dev_sets = sources.read()
        recipe = Recipe()
        plan = recipe.plan
        if seed is not None:
            plan = replace(plan, seed=seed)
        if limit is not None:
            train_sets, dev_sets = (
                _some(sets, limit, plan.seed) for sets in (train_sets, dev_sets)
            )
        working.say("loading the encoder")
        base = training_backbone(backbone)
        if layers is not None and layers > base.shape.layers:
            raise ConfigError(f"--layers: this encoder has {base.shape.layers}, not {layers}")
        rank = rank or recipe.rank
        recipe = replace(
            recipe,
            rank=rank,
            alpha=recipe.alpha / recipe.rank * rank,
            batch_size=batch_size or recipe.batch_size,
            dropout=recipe.dropout if dropout is None else dropout,
            clozes=recipe.clozes if pretrain and start is None else 0,
            start=None if start is None else start.name,
            teachers=tuple(folder.name for folder in teachers or ()),
            settings=replace(recipe.settings, layers=layers),
            plan=replace(
                plan,
                epochs=epochs or plan.epochs,
                learning_rate=plan.learning_rate if learning_rate is None else learning_rate,
                bf16=trains_in_bf16(base.device),
            ),
        )
        begun = None if start is None else read_trained(base, start)
        taught_by = tuple(read_trained(base, folder) for folder in teachers or ())
        run = run or cache_directory() / "runs" / run_name(train_sets, dev_sets, recipe, base)
        if fresh:
            drop_checkpoints(run)
        with interruptible(run):
            trained = make_reader(
                base,
                train_sets,
                dev_sets,
                recipe,
                run,
                folder,
                command=command_words(context.obj or ()),
                licences=sources.licences(),
                start=begun,
                teachers=taught_by,
                show=Shown(working),
            )
    if trained is None:
        return
    best = trained.outcome
    output.show(
        f"{folder}: {recipe.plan.measure} {best.best:.1f} on dev at step {best.best_step:,} of "
        f"{best.steps:,}, after {duration(best.seconds)}.",
        f"Expected calibration error {trained.calibration['ece_cross_fitted']:.3f} "
        f"(before calibration {trained.calibration['ece_uncalibrated']:.3f}).",
        f"Its card is {folder / 'README.md'}.",
    )
    output.document(
        {
            "reader": str(folder),
            "measure": recipe.plan.measure,
            "best": best.best,
            "best_step": best.best_step,
            "steps": best.steps,
            "seconds": best.seconds,
            "history": [dict(entry) for entry in best.history],
            "calibration": dict(trained.calibration),
            "run": str(run),
        }
    )


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where questions come from: the test bed, or files."""

    data: Path | None
    train: tuple[Path, ...]
    dev: tuple[Path, ...]

    @classmethod
    def of(cls, data: Path | None, train: Sequence[Path], dev: Sequence[Path]) -> _Sources:
        if data is not None and (train or dev):
            raise typer.BadParameter("give either --data or --train and --dev, not both")
        if data is None and not (train and dev):
            raise typer.BadParameter("give --data, or both --train and --dev")
        return cls(data, tuple(train), tuple(dev))

    def read(self) -> tuple[Sets, Sets]:
        """Train and dev sets by name. Raises InputError where dev questions stand in train."""
        from pointsman.data.splits import refuse_overlap
        from pointsman.data.squad import read_squad
        from pointsman.data.testbed import training_parts

        if self.data is not None:
            return training_parts(self.data)
        train = {str(path): list(read_squad(path)) for path in self.train}
        dev = {str(path): list(read_squad(path)) for path in self.dev}
        for sets in (train, dev):
            for path, examples in sets.items():
                if not examples:
                    raise InputError(f"{path}: no questions in it")
        refuse_overlap(_questions(train), _questions(dev), ", ".join(train))
        # The card names files, not where somebody kept them.
        return _by_name(train), _by_name(dev)

    def licences(self) -> dict[str, str]:
        from pointsman.data.testbed import READING_SETS

        return {} if self.data is None else {each.name: each.licence for each in READING_SETS}


def run_name(train: Sets, dev: Sets, recipe: Recipe, backbone: Backbone) -> str:
    """A folder name that changes with the questions, the recipe and the base, and with nothing else."""
    from pointsman.read.examples import examples_digest

    parts = [
        [(name, examples_digest(examples)) for name, examples in sorted(part.items())]
        for part in (train, dev)
    ]
    identity = (backbone.identity.sha256, sorted(asdict(recipe).items()), parts)
    return f"reader-{hashlib.sha256(repr(identity).encode()).hexdigest()[:12]}"


def _by_name(sets: Sets) -> Sets:
    named: Sets = {}
    for path, examples in sets.items():
        named.setdefault(Path(path).name, []).extend(examples)
    return named


def _questions(sets: Sets) -> list[str]:
    return [example.question for examples in sets.values() for example in examples]


def _some(sets: Sets, limit: int, seed: int) -> Sets:
    rng = random.Random(seed)
    return {
        name: rng.sample(examples, min(limit, len(examples))) for name, examples in sets.items()
    }
