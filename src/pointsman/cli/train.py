"""`pointsman train`: specialists from labelled data."""

from __future__ import annotations

import typer

from pointsman.cli import (
    selecting,
    train_allocator,
    train_expert,
    train_grader,
    train_reader,
    train_selection,
    train_selector,
)

EXAMPLES = """
Examples:
  pointsman train reader --data test-bed --out my-space/specialists
  pointsman train expert law --data path/to/beir --out my-space/specialists
  pointsman train grader law --data law.tsv --grades no,yes --cuts 1 --out try
"""

app = typer.Typer(help="Train a specialist.", epilog=EXAMPLES, rich_markup_mode="rich")


@app.callback()
def train() -> None:
    """Train a specialist: a small adapter and head on the frozen encoder."""


app.command(epilog=train_reader.EXAMPLES)(train_reader.reader)
app.command(epilog=train_expert.EXAMPLES)(train_expert.expert)
app.command(epilog=train_grader.EXAMPLES)(train_grader.grader)
app.command(epilog=selecting.EXAMPLES)(train_selector.selector)
app.command(epilog=selecting.EXAMPLES)(train_selection.selection)
app.command(epilog=train_allocator.EXAMPLES)(train_allocator.allocator)
