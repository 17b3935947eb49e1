"""Labels from people, or from a stronger grader: a sheet to fill in, and reading it back.

The sheet is a table for any spreadsheet, `.csv` or `.tsv`, UTF-8 with a byte order mark (without it
Excel takes another encoding), quoted as RFC 4180 says: id, query, title, text, and an empty column
whose name lists the grades, as "grade (0 irrelevant | 1 weak | 2 strong)". Where a grader filled
cells in, one more column, "labelled by", says so: which labels are people's stays known.

A spreadsheet takes a cell that begins with =, + or the like for a formula and runs it. Such a cell
gets an apostrophe in front, and so does one that begins with an apostrophe, so that it can be taken
away again. People's labels are matched by the ids alone; the texts are read back only for a grader.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.data.files import Unique, every_line, replacing
from pointsman.data.graded import Pair, check_names
from pointsman.errors import FormatError, InputError
from pointsman.text import scrub

COLUMNS = ("id", "query", "title", "text")
"""The columns before the grade. Of a sheet that comes back only `id` and the grade need be there."""
BY = "labelled by"
"""The column of who gave a label, where it was no person; empty or missing where it was one."""

# https://owasp.org/www-community/attacks/CSV_Injection, and the apostrophe that makes them text
_MARKS = tuple("=+-@\t\r\n＝＋－＠'")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_CELL = 32_767  # characters, Excel's limit: what is beyond it is cut away or spills over
_GRADE = "grade"


@dataclass(frozen=True, slots=True)
class Labels:
    """Which pairs have a label: their places `indices` [k], rising, and `labels` [k], from 0.

    `missing` counts the pairs without one, `automatic` the labels that no person gave.
    """

    indices: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    missing: int
    automatic: int = 0


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet as it stands, to be filled in: its pairs [n], and their labels [n], None without one.

    `header` names the columns, the grade's "grade", and `rows` [n] are the cells as they were found.
    """

    pairs: tuple[Pair, ...]
    labels: tuple[int | None, ...]
    grades: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def empty(self) -> list[int]:
        """The places of the pairs without a label."""
        return [place for place, label in enumerate(self.labels) if label is None]

    def write(self, labels: Mapping[int, int], by: str, path: str | Path) -> None:
        """Write the sheet to a new file with `labels`, place -> grade, of pairs that had none.

        All else stays, other columns too; `by` says who gave the new ones. Raises InputError for a
        pair that has a label, and what `write_to_label` raises of a path.
        """
        for place in labels:
            if self.labels[place] is not None:
                raise InputError(
                    f"the pair {self.pairs[place].id!r} has a label; no label is written over"
                )
        path = check_new(path)
        header = [*self.header, *([] if BY in self.header else [BY])]
        rows = []
        for place, (pair, row) in enumerate(zip(self.pairs, self.rows, strict=True)):
            cells = dict.fromkeys(header, "") | dict(zip(self.header, row, strict=True))
            cells |= {column: _cell(pair, column) for column in COLUMNS}
            if place in labels:
                label = labels[place]
                cells |= {_GRADE: f"{label} {self.grades[label]}", BY: scrub(by)}
            rows.append(list(cells.values()))
        title = _title(self.grades)
        _write(path, [title if name == _GRADE else name for name in header], rows)


def write_to_label(pairs: Sequence[Pair], grades: Sequence[str], path: str | Path) -> None:
    """Write a sheet of `pairs` to be labelled with one of `grades`, lowest first.

    Raises:
        InputError: something stands at `path` (it may hold labels), a name that ends in neither
            `.csv` nor `.tsv`, no pairs, ids that repeat or cannot stand in a table, a text that no
            cell of a spreadsheet holds.
        ConfigError: fewer than two grades, or names that could be mistaken.
        ReadOnlyError: no permission to write.
    """
    check_names(grades)
    path = check_new(path)
    check_pairs(pairs)
    rows = ([*(_cell(pair, column) for column in COLUMNS), ""] for pair in pairs)
    _write(path, [*COLUMNS, _title(grades)], rows)


def check_new(path: str | Path) -> Path:
    """The path of a sheet that is to be written; raises InputError as `write_to_label` does of one."""
    path = Path(path)
    if path.suffix.lower() not in _DELIMITERS:
        raise InputError(f"{path}: a sheet to label is a .csv or a .tsv file; name it so")
    if os.path.lexists(path):
        raise InputError(f"{path}: is there already and may hold labels; choose another name")
    return path


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Raise InputError as `write_to_label` does of pairs that no sheet can hold."""
    if not pairs:
        raise InputError("there are no pairs to label")
    _places(pairs)
    for pair in pairs:
        for column in COLUMNS:
            _cell(pair, column)


def read_sheet(path: str | Path, grades: Sequence[str]) -> Sheet:
    """Read a sheet whole, texts too, to fill in what is empty.

    Raises as `read_labels` does, and FormatError for a sheet without pairs, without one of
    `COLUMNS`, or with two columns of one name; for an empty query, an item without title and text,
    and an id that stands twice; with the line.
    """
    check_names(grades)
    spellings = _spellings(grades)
    header: list[str] = []
    pairs: list[Pair] = []
    labels: list[int | None] = []
    rows: list[tuple[str, ...]] = []
    unique = Unique(path)
    for line, header, row in _rows(path, grades):
        cells = dict(zip(header, row, strict=True))
        if len(cells) < len(header) or not cells.keys() >= set(COLUMNS):
            reason = f"to be filled in, a sheet needs {', '.join(COLUMNS)}, and no column twice"
            raise FormatError(path, f"{reason}; it has {', '.join(header)}"[:300], line)
        texts = (_plain(cells[column]) for column in COLUMNS[1:])
        pair = Pair(_plain(cells["id"].strip()), *texts)
        if not pair.query.strip() or not pair.content.strip():
            raise FormatError(path, f"the pair {pair.id!r} lacks its query or its texts", line)
        unique.add(pair.id, line)
        pairs.append(pair)
        labels.append(_grade(path, line, cells[_GRADE].strip(), spellings, grades))
        rows.append(tuple(row))
    if not pairs:
        raise FormatError(path, "there is no pair in it to be filled in")
    return Sheet(tuple(pairs), tuple(labels), tuple(grades), tuple(header), tuple(rows))


def read_labels(
    path: str | Path,
    pairs: Sequence[Pair],
    grades: Sequence[str],
    *,
    allow_missing: bool = False,
    some: bool = False,
) -> Labels:
    """Read a sheet that was filled in for `pairs`: grades by name, by number from 0, or by both.

    The delimiter may be a comma, a semicolon or a tab, whatever the spreadsheet made of it; rows
    and columns may stand in any order. Pairs without a label, or without a row, are an error unless
    `allow_missing`; with `some`, the sheet is of some of `pairs`, and those without a row are not
    asked for.

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
    automatic: set[int] = set()
    unique = Unique(path)
    for line, header, row in _rows(path, grades):
        # an id has one apostrophe too many, or none
        id, label = _plain(row[header.index("id")].strip()), row[header.index(_GRADE)].strip()
        unique.add(id, line)
        if id not in places:
            reason = (
                f"no pair has the id {id!r}; was the sheet made for other pairs, or the id changed?"
            )
            raise FormatError(path, reason, line)
        grade = _grade(path, line, label, spellings, grades)
        if grade is None:
            empty[places[id]] = line
            continue
        found[places[id]] = grade
        if BY in header and row[header.index(BY)].strip():
            automatic.add(places[id])
    asked = sorted(found.keys() | empty.keys()) if some else range(len(pairs))
    missing = [place for place in asked if place not in found]
    if missing and not allow_missing:
        first = missing[0]
        where = "" if first in empty else ", which has no row"
        reason = (
            f"{len(missing)} of {len(asked)} pairs have no label, first {pairs[first].id!r}{where}"
        )
        raise FormatError(
            path, f"{reason}; fill them in, or allow missing labels", empty.get(first)
        )
    indices = np.array(sorted(found), dtype=np.int64)
    labels = np.array([found[place] for place in indices.tolist()], dtype=np.int64)
    return Labels(indices, labels, len(missing), len(automatic))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with replacing(path) as file:
        file.write("\ufeff")
        sheet = csv.writer(
            file,
            delimiter=_DELIMITERS[path.suffix.lower()],
            quoting=csv.QUOTE_ALL,
            lineterminator="\n",
        )
        sheet.writerow(header)
        sheet.writerows(rows)


def _rows(path: str | Path, grades: Sequence[str]) -> Iterator[tuple[int, list[str], list[str]]]:
    """Line, names of the columns and cells of each row that is not empty; a grade's is `_GRADE`."""
    # A line of spaces may stand within a text.
    lines = list(every_line(path))
    header: list[str] = []
    for line, row in _table(path, lines):
        if not header:
            header = _columns(path, line, [cell.strip() for cell in row], _title(grades))
        elif len(row) != len(header):
            reason = f"{len(row)} columns where the first row has {len(header)}"
            raise FormatError(path, f"{reason}; put texts between quotation marks", line)
        else:
            yield line, header, row
    if not header:
        raise FormatError(path, "empty; a sheet needs a first row that names its columns")


def _table(path: str | Path, lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The line that each row begins on, and its cells; rows of empty cells are passed over."""
    first = next(filter(str.strip, lines), "")
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


def _columns(path: str | Path, line: int, header: list[str], title: str) -> list[str]:
    """The names of the columns, the grade's without the grades."""
    grade = [name for name in header if name == _GRADE or name.startswith(f"{_GRADE} (")]
    if header.count("id") != 1 or len(grade) != 1:
        reason = "the first row must name one column id and one column grade"
        raise FormatError(path, f"{reason}; it names {', '.join(header)}"[:300], line)
    if grade[0] not in (_GRADE, title):
        raise FormatError(path, f"made for other grades: {grade[0]!r}, not {title!r}", line)
    return [_GRADE if name == grade[0] else name for name in header]


def _grade(
    path: str | Path, line: int, label: str, spellings: Mapping[str, int], grades: Sequence[str]
) -> int | None:
    """The grade that a cell names, None for an empty one."""
    if not label:
        return None
    key = label.casefold()
    grade = spellings.get(key, spellings.get(key.removesuffix(".0")))
    if grade is None:
        raise FormatError(path, f"{label!r} is no grade; use {_listed(grades)}", line)
    return grade


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


def _plain(cell: str) -> str:
    """What was written as a cell, whether or not a spreadsheet took its apostrophe away."""
    return cell.removeprefix("'")


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
