"""What an experiment hands over: tables for people, details for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pointsman.errors import InputError
from pointsman.evaluate.tables import Table

Show = Callable[[str, int, int], None]
"""Called as work goes on: what is being done, how much of it is done, how much there is."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tables, and what they leave out."""

    tables: tuple[Table, ...]
    details: Mapping[str, object] = field(default_factory=dict)


def silent(label: str, done: int, total: int) -> None:
    """A `Show` that shows nothing."""


class Named(Protocol):
    """A row of a table."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...


N = TypeVar("N", bound=Named)


def named(rows: Sequence[N], only: Sequence[str] | None) -> list[N]:
    """All rows, or those that are named. Raises InputError for a name that no row has."""
    names = [row.name for row in rows]
    for name in only or []:
        if name not in names:
            raise InputError(f"there is no row {name!r}; there are {', '.join(names)}")
    return [row for row in rows if only is None or row.name in only]
