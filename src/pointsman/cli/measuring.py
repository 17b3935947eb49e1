"""Running an experiment from the command line: progress, tables, result files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pointsman.cli.output import Output
from pointsman.errors import InputError

if TYPE_CHECKING:
    from pointsman.experiments.report import Report, Show


def run_experiment(
    context: typer.Context,
    data: Path,
    measure: Callable[[Show], Report],
    seed: int,
    out: Path | None,
    as_json: bool,
    every: float | None = None,
) -> None:
    """Measure, show the tables, and write them with all that is needed to get them again.

    `every` is how many seconds may pass between two lines of a log; see `Output.working`. Raises
    InputError where the data are not there.
    """
    from pointsman.evaluate.results import Provenance, write_result

    started = time.time()
    output = Output(as_json)
    if not data.exists():
        raise InputError(f"{data}: there is no such file or directory; check the path")
    with output.working("loading", **({} if every is None else {"every": every})) as working:

        def show(label: str, done: int, total: int) -> None:
            working.say(f"{label} {done:,} of {total:,}")

        report = measure(show)
    provenance = Provenance.collect(["pointsman", *(context.obj or ())], seed, started)
    files = () if out is None else write_result(out, report.tables, provenance, report.details)
    for table in report.tables:
        shown = table.to_rich()
        shown.columns[0].no_wrap = True  # Names stay whole; there is a space to break intervals at.
        output.show(shown, "")
    output.show(*(f"Written: {file}" for file in files))
    output.document(
        {
            "tables": [table.to_json() for table in report.tables],
            "seed": seed,
            "seconds": provenance.seconds,
            "files": [str(file) for file in files],
        }
    )
