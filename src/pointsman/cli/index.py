"""`pointsman index`: documents into a workspace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.options import Json, Space
from pointsman.cli.output import Output, counted

if TYPE_CHECKING:
    from pointsman.evaluate.tables import Table
    from pointsman.workspace import SourceReport, Workspace

EXAMPLES = """
Examples:
  pointsman index my-space docs/
  pointsman index my-space notes.md handbook.txt path/to/beir/scifact
  pointsman index my-space other-docs/ --prefix other/
"""

_SKIPPED_SHOWN = 5


def index(
    space: Space,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE…",
            help="Folders or files (.txt, .md), BEIR directories, .jsonl corpora, SQuAD files.",
            show_default=False,
        ),
    ],
    prefix: Annotated[
        str, typer.Option(metavar="P", help="Put before every id, where two sources share ids.")
    ] = "",
    json: Json = False,
) -> None:
    """Index documents.

    Only what is new or changed is encoded; what is gone from a source is
    removed. A workspace that does not exist is made. Ctrl-C loses nothing:
    the same command goes on.
    """
    from pointsman.data.sources import open_source
    from pointsman.training.interrupt import Interrupt

    output = Output(json)
    # Before a workspace is made for them: a mistyped path should leave nothing behind.
    for source in sources:
        open_source(source)
    workspace, made = _open_or_make(space, output)
    try:
        # Raised inside a library's callback Ctrl-C would be lost; between two batches it is not.
        with Interrupt() as interrupt, workspace, output.working("loading") as working:

            def indexed(source: str, done: int) -> None:
                working.say(f"{source}: {counted(done, 'passage')}")
                interrupt.deliver()

            with interrupt.held():
                reports = workspace.index(sources, prefix=prefix, progress=indexed)
            passages = len(workspace.store)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted; what was indexed until now stays, and the same command goes on from there"
        ) from None
    shown = table(reports).to_rich()
    shown.columns[0].overflow = "fold"  # A path that is cut is no path.
    output.show(shown, *_skipped(reports))
    output.show(
        f"{space} holds {counted(passages, 'passage')}. Next: pointsman ask {space} 'your question'"
    )
    output.document(
        {
            "workspace": str(space),
            "made": made,
            "passages": passages,
            "sources": [asdict(report) for report in reports],
        }
    )


def table(reports: Sequence[SourceReport]) -> Table:
    """What became of each source."""
    from pointsman.evaluate.tables import Column, Table

    counts = ("added", "replaced", "unchanged", "removed")
    return Table(
        "Indexed",
        ["source", *counts, "skipped", Column("s")],
        [
            [
                f"{report.source} ({report.kind})",
                *(getattr(report, count) for count in counts),
                len(report.skipped),
                report.seconds,
            ]
            for report in reports
        ],
    )


def _skipped(reports: Sequence[SourceReport]) -> Iterator[str]:
    for report in reports:
        for reason in report.skipped[:_SKIPPED_SHOWN]:
            yield f"skipped {reason}"
        if (more := len(report.skipped) - _SKIPPED_SHOWN) > 0:
            yield f"… and {more} more of {report.source} (--json has them all)"


def _open_or_make(space: Path, output: Output) -> tuple[Workspace, bool]:
    """Only a place where nothing is becomes a workspace: no folder of documents by mistake."""
    from pointsman.workspace import Workspace

    folder = space.expanduser()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        return Workspace.open(folder), False
    output.note(f"{space} is new: making a workspace there.")
    return Workspace.create(folder), True
