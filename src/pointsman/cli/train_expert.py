"""`pointsman train expert`: a query expert from a collection and what was asked of it."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.options import (
    BackboneName,
    Fresh,
    Json,
    Licence,
    RecipeName,
    RunFolder,
    Seed,
    SpecialistName,
    SpecialistOut,
    TrainingLimit,
)
from pointsman.cli.output import Output, duration
from pointsman.cli.places import cache_directory
from pointsman.cli.training import (
    LOG_EVERY,
    Shown,
    check_free,
    command_words,
    drop_checkpoints,
    encoder_to_train,
    interruptible,
)

if TYPE_CHECKING:
    from pointsman.route.recipe import Recipe
    from pointsman.route.source import Source

EXAMPLES = """
Examples:
  pointsman train expert law --data path/to/beir --out my-space/specialists
  pointsman train expert law --data path/to/beir --out try --recipe paper
  pointsman train expert wiki --data path/to/beir --out try --from-documents

An expert at my-space/specialists/NAME is used from then on.
"""


class NegativesName(StrEnum):
    """What an expert's queries are told apart from; see `route.task.ExpertTask`."""

    judged = "judged"
    all = "all"
    mined = "mined"
    batch = "batch"


def expert(
    context: typer.Context,
    name: SpecialistName,
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="A BEIR directory with training queries.", show_default=False
        ),
    ],
    out: SpecialistOut,
    recipe: Annotated[
        RecipeName, typer.Option(metavar="NAME", help="ours, or paper: RouterRetriever's own.")
    ] = RecipeName.ours,
    negatives: Annotated[
        NegativesName | None,
        typer.Option(
            metavar="KIND",
            help="judged, all, mined or batch. By default ours tries judged and all, and dev decides.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="By default the recipe's.", show_default=False),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="At its peak. By default the recipe's.", show_default=False),
    ] = None,
    seed: Seed = 0,
    limit: TrainingLimit = None,
    licence: Licence = "",
    from_documents: Annotated[
        bool,
        typer.Option("--from-documents", help="Make queries of titles and first sentences."),
    ] = False,
    drop_overlap: Annotated[
        bool,
        typer.Option(
            "--drop-overlap", help="Leave out queries that stand in the dev or test part too."
        ),
    ] = False,
    backbone: BackboneName = None,
    run: RunFolder = None,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Train a query expert, which finds one domain's documents better.

    Queries alone go through it: the index stays as it is. Where nothing
    beats the encoder on dev, nothing is written. Ctrl-C leaves a checkpoint,
    and the same command goes on from it.
    """
    from pointsman.route.shelf import check_name

    check_name(name)
    folder = out / name
    check_free(folder)
    from pointsman.data.arrays import ArrayCache
    from pointsman.hybrid import weigh
    from pointsman.route.make import make_expert, run_name
    from pointsman.route.recipe import RECIPES
    from pointsman.route.source import read_data
    from pointsman.route.utility import MEASURE

    output = Output(json)
    with output.working("loading the encoder", every=LOG_EVERY) as working:
        base = encoder_to_train(backbone)
        chosen = _with(RECIPES[recipe.value], negatives, epochs, learning_rate, seed)
        source = read_data(
            data,
            base,
            ArrayCache(cache_directory() / "vectors"),
            from_documents=from_documents,
            drop_overlap=drop_overlap,
            limit=limit,
            batch=chosen.batch_size,
            seed=seed,
            progress=lambda done, total: working.say(
                f"encoding documents: {done:,} of {total:,}", now=done == total
            ),
        )
        run = run or cache_directory() / "runs" / run_name(source, chosen, base)
        runs = [run / kind for kind in chosen.negatives]
        if fresh:
            drop_checkpoints(*runs)
        shown = Shown(working, scale=100)
        with interruptible(*runs):
            trained = make_expert(
                base,
                source,
                chosen,
                run,
                folder,
                command=command_words(context.obj or ()),
                licence=licence,
                weigh=partial(
                    weigh, source.passages, source.data.documents, source.data.dev, base.identity
                ),
                show=lambda kind, progress: shown(progress, f"negatives {kind}: "),
            )
    seconds = sum(outcome.seconds for outcome in trained.outcomes.values())
    best, before = 100 * trained.best, 100 * trained.base
    if trained.helps:
        output.show(
            f"{folder}: {MEASURE} {best:.1f} on dev, the base {before:.1f}; negatives "
            f"{trained.negatives}, after {duration(seconds)}."
        )
    else:
        output.show(
            f"Nothing is written: {MEASURE} on dev is {best:.1f}, and {before:.1f} by the base alone."
        )
    output.show(*_said(source))
    if trained.helps:
        output.show(f"Its card is {folder / 'README.md'}.")
        if source.made:
            output.show(f"Questions go to it where the settings say route.home: {name}.")
    output.document(
        {
            "expert": str(folder) if trained.helps else None,
            "measure": MEASURE,
            "base": trained.base,
            "best": trained.best,
            "negatives": trained.negatives,
            "steps": trained.outcomes[trained.negatives].steps,
            "seconds": seconds,
            "data": source.record(licence),
            "run": str(run),
        }
    )


def _with(
    recipe: Recipe,
    negatives: NegativesName | None,
    epochs: int | None,
    learning_rate: float | None,
    seed: int,
) -> Recipe:
    """The recipe with what was asked for; a number of epochs stands in for its number of steps."""
    plan = replace(recipe.plan, seed=seed)
    if negatives is not None:
        recipe = replace(recipe, negatives=(negatives.value,))
    if learning_rate is not None:
        plan = replace(plan, learning_rate=learning_rate)
    if epochs is None:
        return replace(recipe, plan=plan)
    return replace(recipe, steps=0, plan=replace(plan, epochs=epochs))


def _said(source: Source) -> list[str]:
    """What a reader of the numbers has to know of the data."""
    data = source.data
    lines = [f"{len(data.train):,} training queries, {len(data.dev):,} dev queries."]
    if source.made:
        lines.append("Nobody asked them: they are the documents' titles and first sentences.")
    if source.dev_held_out:
        lines.append("The dev queries were held out of the training queries.")
    if source.left_out:
        lines.append(f"Left out, for they stand in a later part too: {source.left_out:,} queries.")
    return lines
