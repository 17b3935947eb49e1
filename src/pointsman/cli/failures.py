"""What a run that failed says, on one line, and the exit code that it leaves with."""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.text import Text

from pointsman.errors import MissingDependencyError, PointsmanError

INTERRUPTED = 130
SIGPIPE = 141
"""What a shell shows for a program that wrote to a pipe which nobody reads any more."""

# Typer carries a copy of click or needs click itself, depending on its version; this is its base
# of all wrong usage either way.
_UsageError = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


@dataclass(frozen=True, slots=True)
class Failure:
    """One line for people, and the code for programs."""

    message: str
    exit_code: int


def describe(error: BaseException) -> Failure:
    """Any exception as a failure: ours, wrong usage, Ctrl-C, the system's, or a bug."""
    if isinstance(error, PointsmanError):
        return Failure(_one_line(str(error)), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return Failure(str(error) or "interrupted", INTERRUPTED)
    if isinstance(error, _UsageError):
        return Failure(_usage(error), 2)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("pointsman"):
        return Failure(
            f"the package {error.name} is not installed; `pointsman doctor` says how to get it",
            MissingDependencyError.exit_code,
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return Failure(_one_line(f"{where}{error.strerror}"), PointsmanError.exit_code)
    return Failure(
        _one_line(
            f"this is a bug in pointsman: {type(error).__name__}: {error} "
            "(POINTSMAN_DEBUG=1 shows where)"
        ),
        PointsmanError.exit_code,
    )


def report(error: BaseException, *, as_json: bool) -> int:
    """Say on standard error what failed; gives the exit code."""
    if os.environ.get("POINTSMAN_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    failure = describe(error)
    if as_json:
        print(
            json.dumps({"error": failure.message, "exit_code": failure.exit_code}), file=sys.stderr
        )
        return failure.exit_code
    interrupted = failure.exit_code == INTERRUPTED
    line = Text("" if interrupted else "error: ", "bold red").append(failure.message, "default")
    Console(stderr=True).print(line, soft_wrap=True)
    return failure.exit_code


def _usage(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "pointsman")
    message = _one_line(getattr(error, "format_message", error.__str__)())
    return f"{command}: {message.rstrip('.')} (see {command} --help)"


def _one_line(text: str) -> str:
    return " ".join(text.split())
