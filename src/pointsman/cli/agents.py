"""`pointsman agents`: who may answer in a workspace, what each takes, and whether each is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pointsman.cli.options import Json, Space
from pointsman.cli.output import Output
from pointsman.errors import ConfigError, PointsmanError

if TYPE_CHECKING:
    from pathlib import Path

    from pointsman.types import Answer

EXAMPLES = """
Examples:
  pointsman agents list my-space
  pointsman agents price my-space --price 0.1
  pointsman agents test my-space

An agent is some lines under `agents:` in my-space/pointsman.yaml:

  agents:
    - name: big
      url: https://api.example.com/v1
      model: a-model
      key: EXAMPLE_API_KEY      # the variable that holds the key, not the key
      dollars_in: 0.15          # for a million tokens
      dollars_out: 0.6
      right: 0.8                # how often it is right where it is asked
    - name: deep
      reader: hf:a/question-answering-model   # or a reader of ours, by name
      dollars: 0.0001           # for a question
    - name: recorded
      answers: answers.json     # {"question": "answer"}

The reader is asked first, and another agent where its `right` (0.75 unless
said), less its part of the price, is more than the reader is sure. Where an
allocator is named under `defer:` (pointsman train allocator), that decides.

A price weighs dollars, or what `unit:` under `defer:` names: gflops (those of
readers are counted, `gflops:` says an endpoint's for a question) or seconds
(`seconds:`; the local reader's stand under `read:`).
A question with longer passages than usual costs more, one with shorter less.
"""

QUESTION = "What colour is the boat?"
PASSAGE = "The boat on the lake is red."

app = typer.Typer(help="List, price and test agents.", epilog=EXAMPLES, rich_markup_mode="rich")

Price = Annotated[
    float | None,
    typer.Option(
        "--price",
        metavar="X",
        min=0,
        help="Right answers given up for one of the dearest agent's, such as 0.1. "
        "By default the workspace's.",
        show_default=False,
    ),
]


@app.callback()
def agents() -> None:
    """Agents: the local reader, and others that answer where it is not sure enough."""


@app.command(name="list", epilog=EXAMPLES)
def list_(space: Space, json: Json = False) -> None:
    """List a workspace's agents.

    Where each is, which model it asks for, where its key comes from and whether that is set.
    """
    from pointsman.workspace import READER, Workspace

    output = Output(json)
    with Workspace.open(space) as workspace:
        rows: list[dict[str, Any]] = [
            {"name": READER, "where": "here", "model": workspace.settings.read.reader, "key": ""}
        ]
        workspace.check_agents()
        for given in workspace.settings.agents:
            key = given.key and f"{given.key}{'' if os.environ.get(given.key) else ', not set'}"
            rows.append(
                {"name": given.name, "where": given.where, "model": given.model, "key": key}
            )
    output.show(_table(rows))
    output.document(rows)


@app.command(epilog=EXAMPLES)
def price(space: Space, price: Price = None, json: Json = False) -> None:
    """What each agent takes, and when it is asked at a price.

    The price is how many right answers one gives up for one answer of the
    dearest agent; at 0 only being right counts. An agent's cost is its part
    of that. Where an allocator was trained and is set, of which share of the
    questions it asked each agent when it was measured.
    """
    from pointsman.defer.cost import Pricing
    from pointsman.defer.measured import measured_near
    from pointsman.workspace import Workspace

    output = Output(json)
    with Workspace.open(space, overrides={"price": price}) as workspace:
        settings, folder = workspace.settings, workspace.allocator_folder
        asked, unit = settings.price, settings.defer.unit
        names = [agent.name for agent in workspace.agents]
        units = workspace.units
        pricing = Pricing.at(asked, names, units, workspace.alpha)
        beta, changed = pricing.beta.tolist(), workspace.changed_agents
        said = [
            f"At price {asked:g}, for {settings.read.passages} passages of usual length; cost is in right "
            f"answers, the price for the agent that takes most {unit}:"
        ]
        if folder is None:
            rights = [agent.right for agent in settings.agents]
            costs = pricing.costs([[1.0, *(1 - right for right in rights)]])[0].tolist()
            own = workspace.settings.read.alpha
            when = ["always, first", *(_asked(cost, own) for cost in costs[1:])]
        else:
            # What would stop `ask` stops here: other agents, a surrogate's other price.
            workspace.allocator.allocate([], [], asked)
            near = measured_near(folder, asked)
            when = [f"on {share:.0%}" for share in near.asked]
            said.append(
                f"The allocator {folder.name} decides question by question. Asked are shares of the questions "
                f"that it was measured on, at price {near.price:g} in {near.unit}, right on {near.right:.1%}."
            )
    many, column = (1_000, "dollars for 1,000") if unit == "dollars" else (1, unit)
    rows: list[dict[str, Any]] = [
        {"name": name, column: round(many * taken, 6), "cost": round(cost, 6), "asked": each}
        for name, taken, cost, each in zip(names, units, beta, when, strict=True)
    ]
    output.show(*said)
    output.show(_table(rows))
    if changed:
        output.note(changed_line(folder, changed))
    output.document({"price": asked, "unit": unit, "agents": rows, "changed": changed})


def changed_line(allocator: Path | None, changed: Sequence[str]) -> str:
    """Of agents that an allocator knows as other models than they are."""
    return (
        f"{', '.join(changed)}: not the same model or the same answers as when the allocator "
        f"{allocator and allocator.name} learned from them; it decides by what they were, so train it again"
    )


def _asked(cost: float, alpha: float) -> str:
    """When an agent is asked whose errors and price are expected to cost so much, by the rule that needs no
    training; an error of the reader weighs `alpha`.
    """
    least = 1 - cost / alpha if alpha else 0.0
    return f"where the reader is less sure than {least:.0%}" if least > 0 else "never"


@app.command(name="test", epilog=EXAMPLES)
def check(space: Space, json: Json = False) -> None:
    """Ask every agent one question of ours, from one passage of ours.

    What it answers, how long that took, and what is wrong where it does not.
    """
    from pointsman.types import Passage
    from pointsman.workspace import Workspace

    output = Output(json)
    rows, failed = [], 0
    with Workspace.open(space) as workspace:
        for agent in workspace.agents:
            with output.working(f"asking {agent.name}"):
                try:
                    answer = agent.answer([QUESTION], [[Passage("boat", PASSAGE)]])[0]
                except PointsmanError as error:
                    if isinstance(error, ConfigError):
                        rows.append(
                            {"name": agent.name, "answer": "", "seconds": 0.0, "wrong": str(error)}
                        )
                        failed = failed or error.exit_code
                        continue
                    raise
            rows.append(_tested(agent.name, answer))
            failed = failed or (1 if answer.failure else 0)
    output.show(f"{QUESTION} {PASSAGE}")
    output.show(_table(rows))
    output.document(rows)
    if failed:
        raise typer.Exit(failed)


def _tested(name: str, answer: Answer) -> dict[str, Any]:
    wrong = answer.failure or ("no answer" if not answer.text else "")
    return {
        "name": name,
        "answer": answer.text,
        "seconds": round(answer.cost.seconds, 3),
        "wrong": wrong,
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(
            *(f"{value:g}" if isinstance(value, float) else str(value) for value in row.values())
        )
    return table
