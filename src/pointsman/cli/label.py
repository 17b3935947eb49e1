"""`pointsman label`: what of an unlabelled pool to have labelled, and a grader that labels it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.options import BackboneName, Json, Seed, cut_points
from pointsman.cli.output import Output, counted
from pointsman.cli.places import can_be_written
from pointsman.errors import InputError, ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.backbone.specialist import Specialist
    from pointsman.data.graded import Grading, Pair
    from pointsman.grade.pairwise import PairTexts

PICK_EXAMPLES = """
Examples:
  pointsman label pick p.tsv --grader g --train t.tsv --budget 99 --out s.csv
"""
FILL_EXAMPLES = """
Examples:
  pointsman label fill sheet.csv --grader larger --out filled.csv
"""
EXAMPLES = PICK_EXAMPLES + FILL_EXAMPLES.removeprefix("\nExamples:\n")

app = typer.Typer(
    help="Have pairs labelled that training lacks.", epilog=EXAMPLES, rich_markup_mode="rich"
)


class By(StrEnum):
    """In what order pairs are picked; see `grade.augment.pick`."""

    coverage = "coverage"
    random = "random"
    entropy = "entropy"
    margin = "margin"
    distance = "distance"
    typicality = "typicality"


class Distance(StrEnum):
    """How far a pair lies from the training pairs; see `grade.distance`."""

    mahalanobis = "mahalanobis"
    neighbours = "neighbours"


GraderFolder = Annotated[
    Path,
    typer.Option("--grader", metavar="DIR", help="A grader's directory.", show_default=False),
]


@app.callback()
def label() -> None:
    """Have pairs labelled that training lacks: pick them, fill in the sheet.

    People fill in its last column, or a stronger grader does.
    """


@app.command(epilog=PICK_EXAMPLES)
def pick(
    pool: Annotated[
        Path,
        typer.Argument(
            metavar="POOL",
            help="Pairs without scores, .tsv or .jsonl: query, title, text.",
            show_default=False,
        ),
    ],
    grader: GraderFolder,
    train: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The graded pairs it was trained on.", show_default=False
        ),
    ],
    budget: Annotated[
        int, typer.Option(metavar="N", min=1, help="Pairs to be labelled.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="SHEET", help="A new .csv or .tsv to fill in.", show_default=False),
    ],
    by: Annotated[
        By,
        typer.Option(
            metavar="KIND", help="coverage, random, entropy, margin, distance or typicality."
        ),
    ] = By.coverage,
    distance: Annotated[
        list[Distance] | None,
        typer.Option(
            metavar="KIND",
            help="mahalanobis or neighbours: only pairs as far from training as --low and --high "
            "say. May come again; by default both for --by distance, else none.",
            show_default=False,
        ),
    ] = None,
    low: Annotated[
        float | None,
        typer.Option(
            metavar="Q",
            min=0,
            max=1,
            help="Farther than this share of the training pairs. By default 0.5.",
            show_default=False,
        ),
    ] = None,
    high: Annotated[
        float | None,
        typer.Option(
            metavar="Q",
            min=0,
            max=1,
            help="And no farther than this share. By default 0.99.",
            show_default=False,
        ),
    ] = None,
    per_query: Annotated[
        int, typer.Option(metavar="N", min=1, help="At most N pairs of one query.")
    ] = 3,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Pairs to be tested on; the pool must not hold their queries.",
            show_default=False,
        ),
    ] = None,
    cuts: Annotated[
        str | None,
        typer.Option(
            metavar="X,…",
            help="Where the grades of --train begin. By default as the grader was trained.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    backbone: BackboneName = None,
    json: Json = False,
) -> None:
    """Pick the pairs of a pool that are worth a label, and write a sheet.

    The best come first. `pointsman train grader --labelled` takes the sheet.
    """
    from pointsman.data.graded import read_graded, read_pairs
    from pointsman.data.labels import check_pairs, write_to_label
    from pointsman.data.splits import refuse_overlap
    from pointsman.grade.acquire import QUANTILES, acquire

    _check_free(out)
    distances = _distances(by, distance)
    if not distances and (low is not None or high is not None):
        raise typer.BadParameter("bound a --distance; name one", param_hint="--low, --high")
    specialist, grades = _grader(grader)
    output = Output(json)
    with output.working("reading the data") as working:
        pairs = list(read_pairs(pool))
        if not pairs:
            raise InputError(f"{pool}: there is no pair in it to pick from")
        if test is not None:
            refuse_overlap(_queries(pairs), _queries(list(read_pairs(test))), str(pool))
        labels = None
        trained: Sequence[Pair]
        if Distance.mahalanobis in distances:
            graded = list(read_graded(train))
            labels = _grading(specialist, grades, cuts).grades(graded, str(train))
            trained = graded
        else:
            trained = list(read_pairs(train))
        fresh = _unknown(pairs, trained)
        if not fresh:
            raise InputError(f"{pool}: all its pairs are training pairs; give others")
        check_pairs(fresh)
        working.say("loading the encoder")
        from pointsman.backbone.encoder import Backbone
        from pointsman.grade.grader import PairGrader

        model = PairGrader.of(Backbone.load(backbone), specialist)
        working.say(f"grading {counted(len(fresh), 'pair')}")
        found = acquire(
            model,
            _texts(fresh),
            _texts(trained),
            labels,
            budget,
            by.value,
            distances=[each.value for each in distances],
            quantiles=(
                QUANTILES[0] if low is None else low,
                QUANTILES[1] if high is None else high,
            ),
            per_query=per_query,
            seed=seed,
        )
        chosen = [fresh[place] for place in found.picked.indices.tolist()]
        write_to_label(chosen, grades, out)
    output.show(f"{out}: {counted(len(chosen), 'pair')} to label with {', '.join(grades)}.")
    if len(chosen) == len(fresh):
        output.show("That is the whole pool.")
    elif len(chosen) < budget:
        output.show(f"The pool gives no more at {per_query} of a query; --per-query allows others.")
    if distances:
        note = f"; {found.picked.note}" if found.picked.note else ""
        output.show(f"{found.inside:,} of {len(fresh):,} pairs lie inside the windows{note}.")
    if len(fresh) < len(pairs):
        output.show(f"Left out, for they are training pairs: {len(pairs) - len(fresh):,}.")
    output.document(
        {
            "sheet": str(out),
            "grades": list(grades),
            "by": by.value,
            "seed": seed,
            "pool": len(pairs),
            "training_pairs": len(pairs) - len(fresh),
            "picked": len(chosen),
            "windows": {
                name: {"above": bounds.lower, "up_to": bounds.upper}
                for name, bounds in found.windows.items()
            },
            "inside": found.inside,
            "picked_inside": found.picked.inside,
            "note": found.picked.note,
        }
    )


@app.command(epilog=FILL_EXAMPLES)
def fill(
    sheet: Annotated[
        Path,
        typer.Argument(
            metavar="SHEET", help="A sheet that `label pick` wrote.", show_default=False
        ),
    ],
    grader: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A grader's directory, or hf:MODEL: a cross-encoder, a language model.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="SHEET", help="A new .csv or .tsv.", show_default=False),
    ],
    grades: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="With hf:MODEL, the sheet's grades, lowest first: a language model is asked for "
            "these words.",
            show_default=False,
        ),
    ] = None,
    backbone: BackboneName = None,
    json: Json = False,
) -> None:
    """Fill in what is empty in a sheet with a grader's likeliest grades.

    Labels that are there stay. A column says which the grader gave.
    """
    from pointsman.data.labels import BY, read_sheet
    from pointsman.workspace import pretrained_name

    _check_free(out)
    pretrained = pretrained_name(grader)
    if (pretrained is None) != (grades is None):
        raise typer.BadParameter("goes with hf:MODEL, and with it alone", param_hint="--grades")
    specialist = None
    if grades is None:
        specialist, named = _grader(Path(grader))
    else:
        named = tuple(part.strip() for part in grades.split(","))
    name = Path(pretrained or "").name if specialist is None else specialist.name
    output = Output(json)
    with output.working("reading the sheet") as working:
        found = read_sheet(sheet, named)
        if not found.empty:
            raise InputError(f"{sheet}: every pair of it has a label; there is nothing to fill in")
        working.say("loading the grader")
        from pointsman.backbone.encoder import Backbone
        from pointsman.grade.acquire import likeliest
        from pointsman.grade.grader import PairGrader
        from pointsman.grade.pairwise import PairwiseGrader
        from pointsman.grade.pretrained import load_pretrained

        model: PairwiseGrader
        if specialist is None:
            model = load_pretrained(pretrained or "", named)
        else:
            model = PairGrader.of(Backbone.load(backbone), specialist)
        working.say(f"grading {counted(len(found.empty), 'pair')}")
        labels = likeliest(model, _texts([found.pairs[place] for place in found.empty]))
        filled = dict(zip(found.empty, labels.tolist(), strict=True))
        found.write(filled, f"grader {name}", out)
    kept = len(found.pairs) - len(filled)
    output.show(
        f"{out}: {counted(len(filled), 'label')} filled in by the grader {name}, not by "
        f"people; the column {BY!r} says which.",
        *([f"{counted(kept, 'label')} stay as they were."] if kept else []),
    )
    output.document({"sheet": str(out), "grader": name, "filled": len(filled), "kept": kept})


def _check_free(out: Path) -> None:
    """What writing would refuse at the end, refused now."""
    from pointsman.data.labels import check_new

    check_new(out)
    if not can_be_written(out.parent):
        raise ReadOnlyError(f"{out}: cannot be written; name another place with --out")


def _distances(by: By, given: Sequence[Distance] | None) -> list[Distance]:
    """Those asked for, each once."""
    if given:
        return list(dict.fromkeys(given))
    return list(Distance) if by is By.distance else []


def _grader(folder: Path) -> tuple[Specialist, tuple[str, ...]]:
    """A grader's specialist and its grades, before any encoder is loaded."""
    from pointsman.backbone.specialist import load_specialist
    from pointsman.grade.grader import KIND, GraderSettings

    specialist = load_specialist(folder, KIND)
    return specialist, GraderSettings.of(specialist.settings).grades


def _grading(specialist: Specialist, grades: tuple[str, ...], cuts: str | None) -> Grading:
    """How the training pairs' scores become grades: as is said, else as the grader was trained."""
    from pointsman.data.graded import Grading

    if cuts is not None:
        return Grading(grades, cut_points(cuts))
    data = specialist.training.get("data", {})
    if not isinstance(data, dict) or not data.get("cuts"):
        raise InputError(
            f"the grader {specialist.name} does not say at which scores its grades begin; give --cuts"
        )
    return Grading(grades, tuple(map(float, data["cuts"])))


def _unknown(pairs: Sequence[Pair], trained: Sequence[Pair]) -> list[Pair]:
    """The pairs that are no training pairs: nobody should label those again."""
    known = frozenset(_key(pair) for pair in trained)
    return [pair for pair in pairs if _key(pair) not in known]


def _key(pair: Pair) -> tuple[str, str]:
    from pointsman.data.splits import normalise

    return normalise(pair.query), pair.content


def _texts(pairs: Sequence[Pair]) -> list[PairTexts]:
    return [(pair.query, pair.content) for pair in pairs]


def _queries(pairs: Sequence[Pair]) -> list[str]:
    return [pair.query for pair in pairs]
