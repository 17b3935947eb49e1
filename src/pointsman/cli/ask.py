"""`pointsman ask`: one question, or one after another."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.agents import changed_line
from pointsman.cli.answers import answer_lines
from pointsman.cli.experts import left_out_line
from pointsman.cli.failures import report
from pointsman.cli.options import Json, Mode, Space
from pointsman.cli.output import Output, counted
from pointsman.deadline import Deadline
from pointsman.errors import PointsmanError

if TYPE_CHECKING:
    from pointsman.types import Answer, Where
    from pointsman.workspace import Workspace

EXAMPLES = """
Examples:
  pointsman ask my-space "Who designed the first iron bridge?"
  pointsman ask my-space                         asks for questions
  pointsman ask my-space --json < questions.txt  one question a line
  pointsman ask my-space "How many?" --where year=2020 --where lang=en
  pointsman ask my-space "How many?" --mode bm25 --passages 10 --trace
  pointsman ask my-space "How many?" --grader legal --min-relevance 0.3
  pointsman ask my-space "How many?" --allocator allocator --price 0.1
  pointsman ask my-space "How many?" --price 0.1 --promise 0.05
"""


def ask(
    space: Space,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION", help="Without one, questions are read.", show_default=False
        ),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(metavar="MODE", help="hybrid, dense or bm25.", show_default=False),
    ] = None,
    passages: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Passages the reader sees.", show_default=False),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Passages retrieved.", show_default=False),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only passages with this metadata. A key given twice may have either value.",
            show_default=False,
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds that an answer may take.", show_default=False),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            metavar="P", min=0, max=1, help="Below it there is no answer.", show_default=False
        ),
    ] = None,
    promise: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            max=1,
            help="Answer only where at most this share of the answers is wrong, such as 0.1, "
            "as the allocator's card promises.",
            show_default=False,
        ),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Judges relevance: a name, a path, hf:MODEL, or none.",
            show_default=False,
        ),
    ] = None,
    min_relevance: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0, max=1, help="Below it a passage is not read.", show_default=False
        ),
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Chooses what is read: default, a name, a path, or none.",
            show_default=False,
        ),
    ] = None,
    allocator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Decides which agents are asked: a name, a path, or none.",
            show_default=False,
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            help="How many right answers one answer of the dearest agent may cost you, "
            "such as 0.1; at 0 cost counts for nothing.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            help="The most dollars that agents may take for a question.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show what every stage chose from.")
    ] = False,
    json: Json = False,
) -> None:
    """Ask the documents of a workspace.

    An answer is marked in its sentence, with its source, the probability
    that it is right, and the way it took. Where the documents hold none,
    there is none.
    """
    from pointsman.workspace import UNGRADED, Workspace

    output = Output(json)
    filters = parse_where(where or ())
    if deadline is not None and not deadline > 0:
        raise typer.BadParameter("must be above 0 seconds", param_hint="--deadline")
    overrides = {
        "search.mode": None if mode is None else mode.value,
        "search.candidates": candidates,
        "grade.grader": grader,
        "grade.min_relevance": min_relevance,
        "select.selector": selector,
        "defer.allocator": allocator,
        "price": price,
        "defer.budget": budget,
        "read.passages": passages,
        "read.min_confidence": min_confidence,
    }
    if promise is not None:
        if min_confidence is not None:
            raise typer.BadParameter(
                "a promise says what the least confidence is; leave --min-confidence out",
                param_hint="--promise",
            )
        with Workspace.open(space, overrides=overrides) as workspace:
            overrides["read.min_confidence"] = workspace.promised(promise)
    with Workspace.open(space, overrides=overrides) as workspace:
        if min_relevance and workspace.settings.grade.grader == UNGRADED:
            raise typer.BadParameter(
                "nothing judges relevance here; name a grader with --grader",
                param_hint="--min-relevance",
            )
        with output.working("loading"):
            _ = workspace.pipeline
        if workspace.settings.route.router != "base" and workspace.left_out:
            output.note(left_out_line(workspace.left_out))
        if changed := workspace.changed_agents:
            output.note(changed_line(workspace.allocator_folder, changed))

        def answer(text: str) -> Answer:
            # Here, because a deadline begins to run when it is made.
            limit = None if deadline is None else Deadline(deadline)
            with output.working("thinking"):
                return workspace.ask(text, where=filters, deadline=limit)

        if question is not None:
            given = answer(question)
            _show(given, output, trace)
            output.document(given.as_dict())
            return
        failed = 0
        for text in _questions(workspace, output):
            try:
                given = answer(text)
            except PointsmanError as error:
                code = report(error, as_json=json)
                failed = failed or code
                continue
            _show(given, output, trace)
            output.line(given.as_dict())
    # Somebody who watches has seen it; a script has to be told.
    if failed and not sys.stdin.isatty():
        raise typer.Exit(failed)


def parse_where(pairs: Sequence[str]) -> Where | None:
    """KEY=VALUE pairs as a filter; a value is what YAML takes it for: a number, true, or text."""
    import yaml

    found: dict[str, list[str | int | float | bool]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--where")
        value = text
        with contextlib.suppress(yaml.YAMLError):
            value = yaml.safe_load(text)
        # YAML's dates, lists and nothing are not what metadata holds: the text itself is.
        found.setdefault(key, []).append(
            value if isinstance(value, str | int | float | bool) else text
        )
    return {k: values[0] if len(values) == 1 else values for k, values in found.items()} or None


def _show(answer: Answer, output: Output, trace: bool) -> None:
    for line in answer_lines(answer, marks=output.marks):
        output.item(line)
    if trace:
        output.show("", str(answer.trace))


def _questions(workspace: Workspace, output: Output) -> Iterator[str]:
    """Lines of standard input; on a terminal, what is typed at a prompt until an empty line."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` its arrow keys; Windows has its own
    output.note(f"{counted(len(workspace.store), 'passage')}. An empty line or Ctrl-D ends.")
    while True:
        try:
            line = sys.stdin.readline() if output.as_json else input("\n? ")
        except EOFError:
            return
        if not line.strip():
            return
        yield line.strip()
