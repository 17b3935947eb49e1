"""`pointsman train grader`: a grader from graded pairs of a query and an item."""

from __future__ import annotations

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

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
    cut_points,
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
    fitting,
    interruptible,
    specialist_to_start,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointsman.data.graded import Grading
    from pointsman.grade.objective import Objective
    from pointsman.grade.source import Source
    from pointsman.training.loop import Plan, Progress

EXAMPLES = """
Examples:
  pointsman train grader law --data law.tsv --grades no,yes --cuts 1 --out try
  pointsman train grader shop --data a.tsv --grades no,ok --cuts 2.5 --out x
  pointsman train grader mine --data beir/scifact --data beir/nq --out try
  pointsman train grader big --full --data x.tsv --grades a,b --cuts 1 --out y

A grader at my-space/specialists/NAME is used by POINTSMAN_GRADE__GRADER=NAME,
or by the line `grader: NAME` under `grade:` in my-space/pointsman.yaml; one
that was made with --full by `grader: hf:` and its folder.
"""


class _Said(TypedDict):
    """What both ways of making a grader are told alike."""

    command: str
    licence: str
    alpha: float | None
    show: Callable[[Progress], None]


class HeadName(StrEnum):
    """What gives probabilities over grades; see `grade.head`."""

    plain = "plain"
    cumulative = "cumulative"
    corn = "corn"


def grader(
    context: typer.Context,
    name: SpecialistName,
    data: Annotated[
        list[Path],
        typer.Option(
            metavar="PATH",
            help="Graded pairs, .tsv or .jsonl: query, title, text, score; or BEIR directories.",
            show_default=False,
        ),
    ],
    out: SpecialistOut,
    grades: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…", help="Names of a file's grades, lowest first.", show_default=False
        ),
    ] = None,
    cuts: Annotated[
        str | None,
        typer.Option(
            metavar="X,…",
            help="The scores at which each grade but the lowest begins.",
            show_default=False,
        ),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Without it 15 % of the queries are held out.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        HeadName, typer.Option(metavar="KIND", help="plain, cumulative or corn.")
    ] = HeadName.plain,
    soft: Annotated[
        bool,
        typer.Option("--soft", help="Share a pair between the grades its score lies between."),
    ] = False,
    occ: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0, help="Weight of over-confidence calibration.", show_default=False
        ),
    ] = None,
    rho: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0, max=1, help="Its smoothing. By default 0.3.", show_default=False
        ),
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(metavar="X", min=0, max=1, help="Label smoothing.", show_default=False),
    ] = None,
    probing: Annotated[
        bool, typer.Option(help="Fit the head to the base's features first.")
    ] = True,
    start: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The specialist that it begins as: a folder, none, or by default the reader that ships.",
        ),
    ] = "default",
    wording: Annotated[
        bool | None,
        typer.Option(
            help="Let the head see how much wording is repeated. By default for files.",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(metavar="X", min=0, max=1, help="Where from probe (0) to end (1) to stop."),
    ] = 1.0,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="By default 3, from directories 1.", show_default=False
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="At its peak. By default the recipe's.", show_default=False),
    ] = None,
    seed: Seed = 0,
    limit: TrainingLimit = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            metavar="SHEET",
            help="Train on what people labelled of --pool too; see `label pick`.",
            show_default=False,
        ),
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Unlabelled pairs: those that a sheet was picked from, or for --teach.",
            show_default=False,
        ),
    ] = None,
    teach: Annotated[
        bool,
        typer.Option("--teach", help="Learn from the pool too, as the grader itself labels it."),
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out what has no label in the sheet.")
    ] = False,
    licence: Licence = "",
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Train all weights of --backbone: a model of its own, not an adapter.",
        ),
    ] = False,
    backbone: BackboneName = None,
    run: RunFolder = None,
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Train a grader, which says how relevant a passage is.

    From pairs that people graded, or from collections judged for retrieval:
    what a search finds near the answer is related, what it does not, irrelevant.
    Its probabilities are calibrated on the dev pairs. Ctrl-C leaves a
    checkpoint, and the same command goes on from it.
    """
    from pointsman.backbone.specialist import check_name
    from pointsman.data.arrays import ArrayCache
    from pointsman.grade.full import FullRecipe
    from pointsman.grade.judged import read_judged
    from pointsman.grade.make import make_grader, run_name
    from pointsman.grade.make_full import (
        check_full_replaceable,
        full_run_name,
        make_full_grader,
    )
    from pointsman.grade.recipe import GRADED, JUDGED
    from pointsman.grade.source import read_added, read_pool, read_source

    check_name(name)
    judged = all(path.is_dir() for path in data)
    grading = _grading(data, judged, grades, cuts)
    if judged and (soft or labelled is not None or dev is not None):
        raise typer.BadParameter(
            "goes with a file of graded pairs, not with directories",
            param_hint="--soft, --labelled, --dev",
        )
    if labelled is not None and pool is None:
        raise typer.BadParameter(
            "goes with --pool, which it was picked from", param_hint="--labelled"
        )
    if teach and pool is None:
        raise typer.BadParameter("needs pairs to learn from; give --pool", param_hint="--teach")
    if pool is not None and labelled is None and not teach:
        raise typer.BadParameter("goes with --labelled or --teach", param_hint="--pool")
    if allow_missing and labelled is None:
        raise typer.BadParameter("is about a sheet; give --labelled", param_hint="--allow-missing")
    if full and (
        wording or teach or head is not HeadName.plain or start not in ("default", "none")
    ):
        raise typer.BadParameter(
            "are of an adapter and its head, not of --full",
            param_hint="--head, --wording, --teach, --start",
        )
    folder = out / name
    check_free(folder, check_full_replaceable if full else None)
    objective = _objective(occ, rho, smoothing)
    begun = None if full else specialist_to_start(start)
    output = Output(json)
    with output.working("reading the data", every=LOG_EVERY) as working:
        source = None
        if grading is not None:
            added = None
            if labelled is not None and pool is not None:
                added = read_added(labelled, pool, grading, allow_missing=allow_missing)
            source = read_source(
                data[0], grading, dev, soft=soft, limit=limit, seed=seed, added=added
            )
        working.say("loading the encoder")
        base = encoder_to_train(backbone)
        if source is None:
            source = read_judged(
                data,
                base,
                ArrayCache(cache_directory() / "vectors"),
                limit=limit,
                seed=seed,
                progress=lambda each, done, total: working.say(
                    f"{each}: encoding documents: {done:,} of {total:,}", now=done == total
                ),
            )
        unlabelled = read_pool(pool, source) if teach and pool is not None else ()
        shown = Shown(working, scale=100)

        def planned(plan: Plan) -> Plan:
            return replace(
                plan,
                seed=seed,
                epochs=epochs or plan.epochs,
                learning_rate=plan.learning_rate if learning_rate is None else learning_rate,
            )

        said: _Said = {
            "command": command_words(context.obj or ()),
            "licence": licence,
            "alpha": alpha,
            "show": lambda progress: shown(_shares(progress)),
        }
        if full:
            whole = FullRecipe(objective=objective, probing=probing)
            whole = replace(whole, plan=planned(whole.plan))
            run = run or cache_directory() / "runs" / full_run_name(source, whole, backbone)
            parts: tuple[Path, ...] = (run / "probe", run / "tuned")
        else:
            begun = fitting(base, start, begun)
            recipe = JUDGED if judged else GRADED
            recipe = replace(
                recipe,
                head=head.value,
                objective=objective,
                probing=probing,
                start=None if begun is None else begun.name,
                wording=recipe.wording if wording is None else wording,
                plan=planned(recipe.plan),
            )
            run = run or cache_directory() / "runs" / run_name(source, recipe, base)
            parts = (run,)
        if fresh:
            drop_checkpoints(*parts)
        with interruptible(*parts):
            if full:
                made = make_full_grader(backbone, source, whole, run, folder, **said)
            else:
                adapter = None if begun is None else begun.adapter
                made = make_grader(
                    base, source, recipe, run, folder, start=adapter, pool=unlabelled, **said
                )
    outcome = made.outcome
    before, after = made.calibrated.before, made.calibrated.after
    output.show(
        f"{folder}: macro-F1 {100 * after.macro_f1:.1f}, NLL {after.nll:.3f} on dev, after "
        f"{duration(outcome.seconds)}.",
        f"Expected calibration error {after.ece:.3f} (before calibration {before.ece:.3f}).",
        *_said(source),
        f"Its card is {folder / 'README.md'}.",
    )
    output.document(
        {
            "grader": str(folder),
            "grades": list(source.grading.names),
            "alpha": made.alpha,
            "calibration": made.calibrated.scaling.kind,
            "before": asdict(before),
            "after": asdict(after),
            "best_step": outcome.best_step,
            "steps": outcome.steps,
            "seconds": outcome.seconds,
            "history": [dict(entry) for entry in outcome.history],
            "data": source.record(licence),
            "run": str(run),
        }
    )


def _grading(
    data: Sequence[Path], judged: bool, grades: str | None, cuts: str | None
) -> Grading | None:
    """What a file's scores mean; None for directories, whose grades are given."""
    from pointsman.data.graded import Grading

    given = grades is not None, cuts is not None
    if judged:
        if any(given):
            raise typer.BadParameter(
                "are of a file's scores; pairs from directories have grades of their own",
                param_hint="--grades, --cuts",
            )
        return None
    if len(data) > 1:
        raise typer.BadParameter("is one file, or BEIR directories", param_hint="--data")
    if grades is None or cuts is None:
        raise typer.BadParameter("are needed with a file of scores", param_hint="--grades, --cuts")
    return Grading(tuple(part.strip() for part in grades.split(",")), cut_points(cuts))


def _objective(occ: float | None, rho: float | None, smoothing: float | None) -> Objective:
    from pointsman.grade.objective import Objective

    if rho is not None and not occ:
        raise typer.BadParameter("is the smoothing of --occ; give both", param_hint="--rho")
    plain = Objective()
    return Objective(
        smoothing=plain.smoothing if smoothing is None else smoothing,
        occ=plain.occ if occ is None else occ,
        rho=plain.rho if rho is None else rho,
    )


def _shares(progress: Progress) -> Progress:
    """With the measures that are shares: a log-likelihood in per cent would mislead."""
    shares = {name: value for name, value in progress.measures.items() if name == "macro_f1"}
    return replace(progress, measures=shares)


def _said(source: Source) -> list[str]:
    """What a reader of the numbers has to know of the data."""
    data = source.record()
    parts = [
        f"{data[part]['pairs']:,} {name} pairs of {data[part]['queries']:,} queries"
        for part, name in (("train", "training"), ("dev", "dev"))
    ]
    lines = [f"{', '.join(parts)}."]
    if source.added is not None:
        count, by = len(source.added.part.pairs), source.added.automatic
        lines.append(
            f"{count:,} of the training pairs were labelled in {source.added.sheet}"
            f"{f', {by:,} of them by a grader, not by people' if by else ''}."
        )
    if source.dev_held_out:
        lines.append("The dev queries were held out of the training queries.")
    return lines
