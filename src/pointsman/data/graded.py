"""Graded relevance: pairs of a query and an item, how their scores become grades, and their parts.

A file is a table with tabs (`.tsv`, with a header row, no quoting) or JSON Lines (`.jsonl`), either
also packed as `.gz`. Columns or fields, others are passed over:

    query             what was asked
    title, text       the item: one of them or both; a title may also be called item
    score             how relevant it was judged, a number; may also be called grade
    variance          of the judges' scores, where it is known
    id                where there is none, the number of the line
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.data.files import (
    Unique,
    id_of,
    json_lines,
    kind_of,
    load_json,
    numbered_lines,
    text_of,
)
from pointsman.data.splits import without
from pointsman.errors import ConfigError, FormatError, InputError
from pointsman.text import scrub

PARTS = ("train", "pool", "id_dev", "id_test", "ood_test")
"""Labelled, to choose from, and held out: of known topics to tune and to test on, of unknown to test on."""

_ALIASES = {"item": "title", "grade": "score"}


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and an item whose relevance to it is asked for; `title` or `text` may be empty."""

    id: str
    query: str
    title: str
    text: str

    @property
    def content(self) -> str:
        """Title and text as one string: what a grader reads beside the query."""
        return " ".join(filter(None, (self.title, self.text)))


@dataclass(frozen=True, slots=True)
class GradedPair(Pair):
    """A pair with its raw score, and the variance among the judges where the source gives it."""

    score: float
    variance: float | None = None


@dataclass(frozen=True, slots=True)
class Grading:
    """Ordered grades, lowest first, and the scores at which each but the lowest begins.

    A score belongs to grade g where `cuts[g - 1]` <= score < `cuts[g]`. A score that is below a cut
    by no more than float32 loses in storing it (one millionth) counts as on it.

    Raises ConfigError for fewer than two grades, names that repeat or are numbers, and cuts that
    are not one less than the grades, finite and rising.
    """

    names: tuple[str, ...]
    cuts: tuple[float, ...]

    def __post_init__(self) -> None:
        check_names(self.names)
        if len(self.cuts) != len(self.names) - 1:
            raise ConfigError(
                f"{len(self.names)} grades need {len(self.names) - 1} cuts between them, "
                f"not {len(self.cuts)}"
            )
        if not all(map(math.isfinite, self.cuts)) or any(np.diff(self.cuts) <= 0):
            raise ConfigError(f"the cuts between grades must rise; these do not: {self.cuts}")

    def grade(self, score: float) -> int:
        """The grade of one raw score, from 0; InputError where it is not finite."""
        if not math.isfinite(score):
            raise InputError(f"a score must be finite, not {score}")
        return sum(score >= cut - 1e-6 * max(1.0, abs(cut)) for cut in self.cuts)

    def grades(
        self, pairs: Iterable[GradedPair], what: str = "the graded pairs"
    ) -> npt.NDArray[np.int64]:
        """The grades [n] of pairs that are to be trained or tested on.

        Raises InputError where fewer than two grades occur: nothing can be told apart there.
        """
        made = np.array([self.grade(pair.score) for pair in pairs], dtype=np.int64)
        if not made.size:
            raise InputError(f"{what}: there is no pair in it")
        if (made == made[0]).all():
            raise InputError(
                f"{what}: all {len(made)} pairs have the grade {self.names[made[0]]!r}, and two "
                f"must occur at least; check the scores against the cuts {self.cuts}"
            )
        return made


class HeldBack:
    """Pairs whose scores are known but count as not yet given: only what is looked up is paid for.

    `pairs` [n] are without scores.
    """

    def __init__(self, pairs: Iterable[GradedPair]) -> None:
        self._graded = tuple(pairs)
        self._looked_up: set[int] = set()
        self.pairs = tuple(Pair(p.id, p.query, p.title, p.text) for p in self._graded)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def spent(self) -> int:
        """How many pairs were looked up; a pair that was looked up twice counts once."""
        return len(self._looked_up)

    def look_up(self, indices: npt.ArrayLike) -> tuple[GradedPair, ...]:
        """The pairs at `indices` [k], which count from 0 in `pairs`, with their scores.

        Raises InputError for no index at all, one that is out of range, or a mask; nothing is
        counted then.
        """
        asked = np.asarray(indices)
        if not asked.size:
            raise InputError("no pair was named to be looked up")
        if asked.ndim != 1 or asked.dtype.kind not in "iu":
            raise InputError("pairs are looked up by a list of whole numbers, their places")
        wrong = asked[(asked < 0) | (asked >= len(self))]
        if wrong.size:
            raise InputError(
                f"there is no pair {wrong[0]} to look up; places go from 0 to {len(self) - 1}"
            )
        self._looked_up.update(asked.tolist())
        return tuple(self._graded[index] for index in asked)


@dataclass(frozen=True, slots=True)
class Parts:
    """A collection parted by query.

    `left_out` are queries that another part holds in other clothes (case, marks, spaces): they stay
    only in the part that is held out. `without_pairs` counts queries that no pair has,
    `without_part` pairs whose query is in no part.
    """

    train: tuple[GradedPair, ...]
    pool: HeldBack
    id_dev: tuple[GradedPair, ...]
    id_test: tuple[GradedPair, ...]
    ood_test: tuple[GradedPair, ...]
    left_out: tuple[str, ...]
    without_pairs: int
    without_part: int


def read_graded(path: str | Path) -> Iterator[GradedPair]:
    """Stream the pairs of a file with their scores. Texts stay as they are, HTML entities too.

    Raises:
        InputError: the file is missing, unreadable, or neither `.tsv` nor `.jsonl`.
        FormatError: a row that does not fit the header, a missing field, a score that is no finite
            number, a negative variance, an id that stood before; with the line.
    """
    for line, item in _items(path, needed=("query", "score")):
        pair = _pair(item, path, line)
        variance = _number(item, "variance", path, line) if "variance" in item else None
        if variance is not None and variance < 0:
            raise FormatError(path, f"a variance cannot be negative, as {variance} is", line)
        score = _number(item, "score", path, line)
        yield GradedPair(pair.id, pair.query, pair.title, pair.text, score, variance)


def read_pairs(path: str | Path) -> Iterator[Pair]:
    """Stream the pairs of a file that need have no score; one that is there is passed over.

    Raises as `read_graded` does.
    """
    for line, item in _items(path, needed=("query",)):
        yield _pair(item, path, line)


def read_parts(path: str | Path, pairs: Iterable[GradedPair]) -> Parts:
    """Part `pairs` by a JSON file: each name of `PARTS` -> the list of its queries' texts.

    Raises:
        InputError: the file is missing or unreadable, or no pair belongs to any part.
        FormatError: it is not such an object, or a query stands in it twice.
    """
    queries = _queries(path)
    part_of: dict[str, str] = {}
    left_out: list[str] = []
    # The last parts are tested on, and stay whole.
    for part in reversed(PARTS):
        kept = without(queries[part], part_of, str)
        part_of |= dict.fromkeys(kept, part)
        left_out += [query for query in queries[part] if query not in part_of]
    parted: dict[str, list[GradedPair]] = {part: [] for part in PARTS}
    apart = frozenset(left_out)
    used: set[str] = set()
    without_part = 0
    for pair in pairs:
        used.add(pair.query)
        if pair.query in part_of:
            parted[part_of[pair.query]].append(pair)
        elif pair.query not in apart:
            without_part += 1
    if not any(parted.values()):
        raise InputError(
            f"{path}: none of the pairs has a query of this file; do they belong together?"
        )
    return Parts(
        train=tuple(parted["train"]),
        pool=HeldBack(parted["pool"]),
        id_dev=tuple(parted["id_dev"]),
        id_test=tuple(parted["id_test"]),
        ood_test=tuple(parted["ood_test"]),
        left_out=tuple(left_out),
        without_pairs=len((part_of.keys() | apart) - used),
        without_part=without_part,
    )


def check_names(names: Sequence[str]) -> None:
    """Raise ConfigError where names of grades are fewer than two, or could be mistaken.

    People answer with a grade's name or its number, so a name is no number, and no two are the same
    but for case.
    """
    if len(names) < 2:
        raise ConfigError(f"grading needs two grades at least, lowest first; given: {list(names)}")
    for name in names:
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise ConfigError(f"a grade needs a name of one plain line, not {name!r}")
        try:
            float(name)
        except ValueError:
            continue
        raise ConfigError(f"a grade needs a name that is no number, not {name!r}")
    name, times = Counter(name.casefold() for name in names).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"two grades are named {name!r}; give each its own name")


def _items(path: str | Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, object]]]:
    """Line numbers and what each line holds, by our names for the fields, without empty ones."""
    kind = Path(path).name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "jsonl":
        rows = json_lines(path)
    elif kind == "tsv":
        rows = _table(path, needed)
    else:
        raise InputError(f"{path}: pairs are read from a .tsv or a .jsonl file; convert it to one")
    unique = Unique(path)
    for line, row in rows:
        named = zip(_fields(row, path, line), row.values(), strict=True)
        item = {name: value for name, value in named if value is not None and value != ""}
        for field in needed:
            if field not in item:
                raise FormatError(path, f"the field {field!r} is missing or empty", line)
        item.setdefault("id", line)
        unique.add(id_of(item, "id", path, line), line)
        yield line, item


def _table(path: str | Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, object]]]:
    lines = numbered_lines(path)
    header: list[str] = []
    for line, row in lines:
        header = [cell.strip().lower() for cell in row.split("\t")]
        fields = _fields(header, path, line)
        if missing := [field for field in needed if field not in fields]:
            reason = f"the header row has no column {missing[0]!r}, only {', '.join(header)}"
            raise FormatError(path, reason, line)
        break
    for line, row in lines:
        cells = row.split("\t")
        if len(cells) != len(header):
            reason = f"{len(cells)} columns where the header row has {len(header)}"
            raise FormatError(path, f"{reason}; a tab inside a text must become a space", line)
        yield line, dict(zip(header, cells, strict=True))


def _fields(given: Iterable[str], path: str | Path, line: int) -> list[str]:
    fields = [_ALIASES.get(name, name) for name in given]
    field, times = Counter(fields).most_common(1)[0] if fields else ("", 0)
    if times > 1:
        raise FormatError(path, f"the field {field!r} is given twice; keep one of them", line)
    return fields


def _pair(item: Mapping[str, object], path: str | Path, line: int) -> Pair:
    query, title, text = (
        text_of(item, key, path, line) if key in item else "" for key in ("query", "title", "text")
    )
    if not query.strip():
        raise FormatError(path, "the query is empty", line)
    if not title.strip() and not text.strip():
        raise FormatError(path, "the item has neither a title nor a text", line)
    return Pair(id_of(item, "id", path, line), query, title, text)


def _number(item: Mapping[str, object], key: str, path: str | Path, line: int) -> float:
    value = item[key]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FormatError(path, f"a {key} is a number, not {kind_of(value)}", line)
    try:
        made = float(value)
    except (ValueError, OverflowError):
        raise FormatError(path, f"a {key} is a number, not {str(value)[:40]!r}", line) from None
    if not math.isfinite(made):
        raise FormatError(path, f"a {key} must be finite, not {made}", line)
    return made


def _queries(path: str | Path) -> dict[str, list[str]]:
    given = load_json(path, unique_keys=True)
    if not isinstance(given, dict) or given.keys() != set(PARTS):
        there = ", ".join(map(str, given)) if isinstance(given, dict) else kind_of(given)
        reason = f"an object with exactly the parts {', '.join(PARTS)} is needed, not {there}"
        raise FormatError(path, reason)
    queries: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for part in PARTS:
        if not isinstance(given[part], list):
            raise FormatError(path, f"{part!r} must be a list of queries")
        for query in given[part]:
            if not isinstance(query, str) or not query.strip():
                raise FormatError(path, f"a query in {part!r} must be text that is not empty")
        queries[part] = [scrub(query) for query in given[part]]
        for query in queries[part]:
            if query in first:
                where = (
                    f"{first[query]!r} and {part!r}" if first[query] != part else f"{part!r} twice"
                )
                raise FormatError(path, f"the query {query!r} stands in {where}; keep one of them")
            first[query] = part
    return queries
