"""Every error that Pointsman raises on purpose, in one tree.

PointsmanError                     exit code 1
├── InputError                     3   something the user handed in: a path, a file, a question
│   ├── FormatError                    a file that is not what it should be: path, line, reason
│   ├── EmptyCollectionError           nothing to index, nothing to search
│   └── QuestionError                  a question that cannot be asked
├── ConfigError                    4   a setting: unknown key, wrong type, contradicting values
├── WorkspaceError                 5   a workspace that is missing, read-only, locked or too new
│   ├── IndexLockedError               another process is writing
│   └── ReadOnlyError                  no permission to write
├── ModelError                     6   weights and specialists
│   ├── BackboneMismatchError          made with another backbone; both are named
│   └── SpecialistError                a specialist that is corrupt, incomplete or for another base
├── MissingDependencyError         7   an optional package that is not installed, and how to get it
└── DeadlineError               8   a call ran out of time or was cancelled

Exit code 2 is left to wrong usage of the command line, 130 to Ctrl-C.
A message is one line that names what is wrong and what to do about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class PointsmanError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(PointsmanError):
    """Something the user handed in cannot be used."""

    exit_code = 3


class FormatError(InputError):
    """A file that does not follow its format. `line` counts from 1."""

    def __init__(self, path: str | Path, reason: str, line: int | None = None) -> None:
        self.path = Path(path)
        self.line = line
        self.reason = reason
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {reason}")


class EmptyCollectionError(InputError):
    """There is nothing to index, or nothing has been indexed yet."""


class QuestionError(InputError):
    """A question that cannot be asked: empty, or far too long."""


class ConfigError(PointsmanError):
    """A setting that is unknown, of the wrong type or in contradiction to another."""

    exit_code = 4


class WorkspaceError(PointsmanError):
    """A workspace that is missing, unreadable, or of a format this version does not know."""

    exit_code = 5


class IndexLockedError(WorkspaceError):
    """Another process holds the writer's lock of this index."""


class ReadOnlyError(WorkspaceError):
    """A write was asked for where writing is not possible."""


class ModelError(PointsmanError):
    """Weights that cannot be found, loaded or used."""

    exit_code = 6


class BackboneMismatchError(ModelError):
    """An index or a specialist was made with another backbone. The message names both."""


class SpecialistError(ModelError):
    """A specialist that is corrupt, incomplete, or of an unknown kind."""


class MissingDependencyError(PointsmanError):
    """An optional package is not installed. The message says how to get it."""

    exit_code = 7


class DeadlineError(PointsmanError):
    """A call ran past its deadline or was cancelled."""

    exit_code = 8
