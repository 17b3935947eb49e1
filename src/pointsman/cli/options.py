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
