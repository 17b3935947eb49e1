"""One table of numbers, shown in a terminal, in Markdown or as JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len

from pointsman.errors import ConfigError
from pointsman.evaluate.significance import Interval

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Cell = str | int | float | Interval | None
JSONCell = str | int | float | dict[str, float | int | None] | None

_ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """How a column shows its numbers.

    Floats and intervals are multiplied by `scale` and rounded to `decimals`; integers are counts
    and stay as they are. `best` makes the largest or smallest number of the column bold.
    """

    name: str
    decimals: int = 1
    scale: float = 1.0
    best: Literal["max", "min"] | None = None

    def text(self, cell: Cell) -> str:
        """A cell as people read it; None and NaN are a dash."""
        match cell:
            case None:
                return _ABSENT
            case str():
                return cell
            case bool():
                return "yes" if cell else "no"
            case int():
                return f"{cell:,}"
            case Interval():
                mean = self._number(cell.mean)
                if math.isnan(cell.low) or math.isnan(cell.high):
                    return mean
                return f"{mean} [{self._number(cell.low)}, {self._number(cell.high)}]"
        return self._number(float(cell))

    def value(self, cell: Cell) -> JSONCell:
        """A cell for JSON: scaled as it is shown, but not rounded to `decimals`."""
        match cell:
            case None | str() | bool() | int():
                return cell
            case Interval():
                return {
                    "mean": self._scaled(cell.mean),
                    "low": self._scaled(cell.low),
                    "high": self._scaled(cell.high),
                    "n": cell.n,
                    "clusters": cell.clusters,
                }
        return self._scaled(float(cell))

    def _number(self, number: float) -> str:
        if math.isnan(number):
            return _ABSENT
        # Adding 0 turns the -0.0 that rounding leaves of a small negative number into 0.0.
        return f"{round(number * self.scale, self.decimals) + 0.0:,.{self.decimals}f}"

    def _scaled(self, number: float) -> float | None:
        # Ten decimals hide 0.57 * 100 = 56.99999999999999; JSON knows neither NaN nor infinity.
        return round(number * self.scale, 10) if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under named columns; a column may be given by its name alone.

    Raises ConfigError for a row with more or fewer cells than there are columns.
    """

    title: str
    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                raise ConfigError(
                    f"table {self.title!r}, row {number}: {len(row)} cells for "
                    f"{len(self.columns)} columns"
                )

    def to_markdown(self) -> str:
        """A heading, the table with aligned pipes (GitHub's dialect), and the notes below it."""
        columns = self._columns()
        texts = [
            [
                f"**{_escape(text)}**" if bold else _escape(text)
                for text, bold in zip(row, best, strict=True)
            ]
            for row, best in zip(self._texts(), self._best(), strict=True)
        ]
        lines = [[_escape(column.name) for column in columns], *texts]
        widths = [max(3, *(cell_len(line[i]) for line in lines)) for i in range(len(columns))]
        right = self._right()
        rule = ["-" * (width - r) + ":" * r for width, r in zip(widths, right, strict=True)]
        padded = [
            [_pad(text, width, r) for text, width, r in zip(line, widths, right, strict=True)]
            for line in lines
        ]
        grid = [f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]]]
        blocks = [f"## {' '.join(self.title.split())}", "\n".join(grid)]
        if self.notes:
            blocks.append("\n".join(f"- {' '.join(note.split())}" for note in self.notes))
        return "\n\n".join(blocks) + "\n"

    def to_json(self) -> dict[str, object]:
        """Title, column names, rows and notes, ready for `json.dumps`; NaN is null."""
        columns = self._columns()
        return {
            "title": self.title,
            "columns": [column.name for column in columns],
            "rows": [
                [column.value(cell) for column, cell in zip(columns, row, strict=True)]
                for row in self.rows
            ],
            "notes": list(self.notes),
        }

    def to_rich(self) -> RichTable:
        """For `rich.console.Console.print`. Text is shown as it is, never read as markup."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            title=Text(self.title),
            title_justify="left",
            caption=Text("\n".join(self.notes)) if self.notes else None,
            caption_justify="left",
        )
        for column, right in zip(self._columns(), self._right(), strict=True):
            table.add_column(Text(column.name), justify="right" if right else "left")
        for row, best in zip(self._texts(), self._best(), strict=True):
            table.add_row(
                *(
                    Text(text, style="bold" if bold else "")
                    for text, bold in zip(row, best, strict=True)
                )
            )
        return table

    def _columns(self) -> list[Column]:
        return [Column(column) if isinstance(column, str) else column for column in self.columns]

    def _texts(self) -> list[list[str]]:
        columns = self._columns()
        return [[c.text(cell) for c, cell in zip(columns, row, strict=True)] for row in self.rows]

    def _right(self) -> list[bool]:
        """Which columns hold numbers only, and so align to the right."""
        cells = [[row[i] for row in self.rows] for i in range(len(self.columns))]
        return [
            any(_number(cell) is not None for cell in column)
            and not any(isinstance(cell, str) for cell in column)
            for column in cells
        ]

    def _best(self) -> list[list[bool]]:
        """Which cells are bold: all that are as good as the best one, as far as is shown."""
        marks = [[False] * len(self.columns) for _ in self.rows]
        for i, column in enumerate(self._columns()):
            shown = {
                j: round(
                    number * (1.0 if isinstance(row[i], int) else column.scale), column.decimals
                )
                for j, row in enumerate(self.rows)
                if (number := _number(row[i])) is not None
            }
            if column.best is None or len(shown) < 2:
                continue
            best = (max if column.best == "max" else min)(shown.values())
            for j, number in shown.items():
                marks[j][i] = number == best
        return marks


def _number(cell: Cell) -> float | None:
    """What a cell is compared by; None for what is no number."""
    if cell is None or isinstance(cell, str | bool):
        return None
    number = cell.mean if isinstance(cell, Interval) else float(cell)
    return None if math.isnan(number) else number


def _escape(text: str) -> str:
    """One line, and no pipe that would end the cell, even behind a backslash of the text's own."""
    return re.sub(r"(\\*)\|", r"\1\1\\|", " ".join(text.split()))


def _pad(text: str, width: int, right: bool) -> str:
    # Not str.ljust: a Chinese character is two columns wide.
    space = " " * (width - cell_len(text))
    return space + text if right else text + space
