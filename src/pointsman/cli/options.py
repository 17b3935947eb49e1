"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Mode(StrEnum):
    """How passages are found."""

    hybrid = "hybrid"
    dense = "dense"
    bm25 = "bm25"


class RecipeName(StrEnum):
    """How query experts are trained."""

    ours = "ours"
    paper = "paper"


Space = Annotated[
    Path, typer.Argument(metavar="SPACE", help="The workspace, a directory.", show_default=False)
]
Json = Annotated[
    bool, typer.Option("--json", help="Write JSON to standard output, and nothing else.")
]
BackboneName = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="Another encoder: a directory or a Hugging Face name.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of all that is random.")]

# Experiments.
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=1,
        help="At most N queries of a set's part, drawn at random.",
        show_default=False,
    ),
]
ResultStem = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="STEM", help="Write STEM.json and STEM.md as well.", show_default=False
    ),
]

# Training.
SpecialistName = Annotated[
    str, typer.Argument(metavar="NAME", help="What it is called.", show_default=False)
]
SpecialistOut = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="It is written to DIR/NAME.", show_default=False),
]
TrainingLimit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, help="At most N training queries.", show_default=False
    ),
]
Licence = Annotated[
    str,
    typer.Option("--licence", metavar="TEXT", help="The data's, for the card.", show_default=False),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="DIR",
        help="Where checkpoints lie. By default a folder of the cache directory, named by the "
        "data and all settings.",
        show_default=False,
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Drop the checkpoints of an earlier run.")]


def cut_points(text: str) -> tuple[float, ...]:
    """The numbers of `--cuts`, with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} are not numbers with commas between them", param_hint="--cuts"
        ) from None
