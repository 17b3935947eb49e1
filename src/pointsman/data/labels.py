"""Labels from people, or from a stronger grader: a sheet to fill in, and reading it back.

The sheet is a table for any spreadsheet, `.csv` or `.tsv`, UTF-8 with a byte order mark (without it
Excel takes another encoding), quoted as RFC 4180 says: id, query, title, text, and an empty column
whose name lists the grades, as "grade (0 irrelevant | 1 weak | 2 strong)".

A spreadsheet takes a cell that begins with =, + or the like for a formula and runs it. Such a cell
gets an apostrophe in front, and so does one that begins with an apostrophe, so that it can be taken
away again; of what was written only the ids are read back.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.data.files import Unique, numbered_lines, replacing
from pointsman.data.graded import Pair, check_names
from pointsman.errors import FormatError, InputError
from pointsman.text import scrub

COLUMNS = ("id", "query", "title", "text")
"""The columns before the grade. Of a sheet that comes back only `id` and the grade need be there."""

# https://owasp.org/www-community/attacks/CSV_Injection, and the apostrophe that makes them text
_MARKS = tuple("=+-@\t\r\n＝＋－＠'")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_CELL = 32_767  # characters, Excel's limit: what is beyond it is cut away or spills over


@dataclass(frozen=True, slots=True)
class Labels:
    """Which pairs have a label: their places `indices` [k], rising, and `labels` [k], from 0.

    `missing` counts the pairs without one.
    """

    indices: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    missing: int


def write_to_label(pairs: Sequence[Pair], grades: Sequence[str], path: str | Path) -> None:
    """Write a sheet of `pairs` to be labelled with one of `grades`, lowest first.

    Raises:
        InputError: something stands at `path` (it may hold labels), a name that ends in neither
            `.csv` nor `.tsv`, no pairs, ids that repeat or cannot stand in a table, a text that no
            cell of a spreadsheet holds.
        ConfigError: fewer than two grades, or names that could be mistaken.
        ReadOnlyError: no permission to write.
    """
    path = Path(path)
    check_names(grades)
    if path.suffix.lower() not in _DELIMITERS:
        raise InputError(f"{path}: a sheet to label is a .csv or a .tsv file; name it so")
    if not pairs:
        raise InputError("there are no pairs to label")
    _places(pairs)
    if os.path.lexists(path):
        raise InputError(f"{path}: is there already and may hold labels; choose another name")
    with replacing(path) as file:
        file.write("\ufeff")
        sheet = csv.writer(
            file,
            delimiter=_DELIMITERS[path.suffix.lower()],
            quoting=csv.QUOTE_ALL,
            lineterminator="\n",
        )
        sheet.writerow([*COLUMNS, _title(grades)])
        for pair in pairs:
            sheet.writerow([*(_cell(pair, column) for column in COLUMNS), ""])


def read_labels(
    path: str | Path, pairs: Sequence[Pair], grades: Sequence[str], *, allow_missing: bool = False
) -> Labels:
    """Read a sheet that was filled in for `pairs`: grades by name, by number from 0, or by both.

    The delimiter may be a comma, a semicolon or a tab, whatever the spreadsheet made of it; rows
    and columns may stand in any order. Pairs without a label, or without a row, are an error unless
    `allow_missing`.

    Raises:
        InputError: the file is missing or unreadable, or `pairs` have ids that repeat.
        FormatError: no such table, a sheet made for other grades, an id that is no pair's or stands
            twice, a label that is no grade, a label that is missing; with the line.
        ConfigError: fewer than two grades, or names that could be mistaken.
    """
    check_names(grades)
    places = _places(pairs)
    spellings = _spellings(grades)
    found: dict[int, int] = {}
    empty: dict[int, int] = {}  # place -> line
    unique = Unique(path)
    for line, id, label in _rows(path, grades):
        unique.add(id, line)
        if id not in places:
            reason = (
                f"no pair has the id {id!r}; was the sheet made for other pairs, or the id changed?"
            )
            raise FormatError(path, reason, line)
        if not label:
            empty[places[id]] = line
            continue
        key = label.casefold()
        grade = spellings.get(key, spellings.get(key.removesuffix(".0")))
        if grade is None:
            raise FormatError(path, f"{label!r} is no grade; use {_listed(grades)}", line)
        found[places[id]] = grade
    missing = [place for place in range(len(pairs)) if place not in found]
    if missing and not allow_missing:
        first = missing[0]
        where = "" if first in empty else ", which has no row"
        reason = (
            f"{len(missing)} of {len(pairs)} pairs have no label, first {pairs[first].id!r}{where}"
        )
        raise FormatError(
            path, f"{reason}; fill them in, or allow missing labels", empty.get(first)
        )
    indices = np.array(sorted(found), dtype=np.int64)
    labels = np.array([found[place] for place in indices.tolist()], dtype=np.int64)
    return Labels(indices, labels, len(missing))


def _rows(path: str | Path, grades: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Line, id and label of each row that is not empty."""
    lines: list[str] = []
    for number, text in numbered_lines(path):
        lines += [""] * (number - 1 - len(lines)) + [text]  # so that line numbers stay true
    header: list[str] = []
    id_column = grade_column = 0
    for line, row in _table(path, lines):
        if not header:
            header = [cell.strip() for cell in row]
            id_column, grade_column = _columns(path, line, header, _title(grades))
        elif len(row) != len(header):
            reason = f"{len(row)} columns where the first row has {len(header)}"
            raise FormatError(path, f"{reason}; put texts between quotation marks", line)
        else:
            # an id has one apostrophe too many, or none
            yield line, row[id_column].strip().removeprefix("'"), row[grade_column].strip()
    if not header:
        raise FormatError(path, "empty; a sheet needs a first row that names its columns")


def _table(path: str | Path, lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The line that each row begins on, and its cells; rows of empty cells are passed over."""
    first = next(filter(None, lines), "")
    delimiter = next((mark for mark in ",;\t" if "id" in _bare(first.split(mark))), ",")
    rows = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                yield line, row
            line = rows.line_num + 1
    except csv.Error as error:
        raise FormatError(path, f"not a table that can be read ({error})", line) from None


def _bare(cells: Sequence[str]) -> list[str]:
    return [cell.strip().strip('"') for cell in cells]


def _columns(path: str | Path, line: int, header: list[str], title: str) -> tuple[int, int]:
    """Where the id and the grade stand."""
    grade = [name for name in header if name == "grade" or name.startswith("grade (")]
    if header.count("id") != 1 or len(grade) != 1:
        reason = "the first row must name one column id and one column grade"
        raise FormatError(path, f"{reason}; it names {', '.join(header)}"[:300], line)
    if grade[0] not in ("grade", title):
        raise FormatError(path, f"made for other grades: {grade[0]!r}, not {title!r}", line)
    return header.index("id"), header.index(grade[0])


def _title(grades: Sequence[str]) -> str:
    return f"grade ({' | '.join(f'{number} {name}' for number, name in enumerate(grades))})"


def _listed(grades: Sequence[str]) -> str:
    return ", ".join(f"{number} or {name!r}" for number, name in enumerate(grades))


def _spellings(grades: Sequence[str]) -> dict[str, int]:
    """What a person may write for each grade: its number, its name, or both as the column's name does."""
    both = {f"{number} {name}".casefold(): number for number, name in enumerate(grades)}
    numbers = {str(number): number for number in range(len(grades))}
    # names last: they win where one reads like another's number and name
    return both | numbers | {name.casefold(): number for number, name in enumerate(grades)}


def _cell(pair: Pair, column: str) -> str:
    text = scrub(str(getattr(pair, column)))
    if len(text) >= _CELL:
        raise InputError(
            f"the {column} of the pair {pair.id!r} has {len(text):,} characters, and a spreadsheet's "
            f"cell holds {_CELL:,}; cut it into passages first"
        )
    return f"'{text}" if text.startswith(_MARKS) else text


def _places(pairs: Sequence[Pair]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        id = scrub(pair.id)
        if not id or id != id.strip() or any(mark in id for mark in "\t\n\r"):
            raise InputError(f"the id {id!r} cannot stand in a table of columns; give it another")
        if id in places:
            raise InputError(f"two pairs have the id {id!r}; give each its own")
        places[id] = place
    return places
