"""The command `pointsman`: its commands, and the one place where a run ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pointsman import __version__
from pointsman.cli import (
    agents,
    ask,
    demo,
    doctor,
    evaluate,
    experts,
    index,
    info,
    init,
    label,
    reproduce,
    specialists,
    train,
)
from pointsman.cli.failures import SIGPIPE, report


class _Pointsman(TyperGroup):
    """Replaces typer's way of ending, so that every failure is one line and an exit code of ours."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> Any:
        sys.exit(self._run(list(sys.argv[1:] if args is None else args)))

    def _run(self, arguments: list[str]) -> int:
        _be_lenient()
        try:
            given = list(arguments) or ["--help"]
            with self.make_context("pointsman", given, obj=tuple(arguments)) as context:
                self.invoke(context)
            sys.stdout.flush()
        except typer.Exit as leaving:
            return leaving.exit_code
        except BrokenPipeError:
            _close_quietly()
            return SIGPIPE
        except (Exception, KeyboardInterrupt) as error:
            return report(error, as_json="--json" in arguments)
        return 0


app = typer.Typer(
    name="pointsman",
    cls=_Pointsman,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
Two commands to begin with:
  pointsman index my-space path/to/documents
  pointsman ask my-space "Who designed the first iron bridge?"
""",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pointsman {__version__}")
        raise typer.Exit


@app.callback()
def pointsman(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Answers questions from your documents, and shows where each answer stands."""


app.command(epilog=demo.EXAMPLES)(demo.demo)
app.command(epilog=init.EXAMPLES)(init.init)
app.command(epilog=index.EXAMPLES)(index.index)
app.command(epilog=ask.EXAMPLES)(ask.ask)
app.add_typer(train.app, name="train")
app.add_typer(label.app, name="label")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(reproduce.app, name="reproduce")
app.add_typer(experts.app, name="experts")
app.add_typer(agents.app, name="agents")
app.add_typer(specialists.app, name="specialists")
app.command(epilog=info.EXAMPLES)(info.info)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)


def main() -> None:
    """Run the command line; leaves through SystemExit with an exit code of `pointsman.errors`."""
    app()


def _be_lenient() -> None:
    """A character that a stream cannot hold is replaced; it is no reason to fail."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _close_quietly() -> None:
    """Python writes what is left when it ends; give it a place to write to."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
