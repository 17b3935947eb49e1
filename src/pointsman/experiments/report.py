"""What an experiment hands over: tables for people, details for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
