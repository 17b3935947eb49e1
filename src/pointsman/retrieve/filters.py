"""Metadata filters as SQL that no value can break out of.

Each metadata entry of a passage is also stored as a tag, the JSON text of {field: value}, and a
filter is a question about tags. So fields need no columns of their own, `1` and `"1"` stay apart,
and `1` and `1.0` do not, as in Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from pointsman.errors import InputError
from pointsman.text import scrub
from pointsman.types import Where

Scalar = str | int | float | bool
COLUMNS = ("document", "title")
"""The passage's own fields that a filter may name; they come before metadata of the same name."""


def tag(field: str, value: Scalar) -> str:
    """The tag of one metadata entry. Raises InputError for what is no string, number or boolean."""
    if not isinstance(field, str):
        raise InputError(f"metadata field {field!r} is no string")
    if not isinstance(value, str | int | float | bool):
        raise InputError(
            f"metadata {field!r} holds a {type(value).__name__}; "
            "values are strings, numbers or booleans"
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        value = scrub(value)
    try:
        return json.dumps({scrub(field): value}, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise InputError(f"metadata {field!r} is {value}; numbers must be finite") from None


def tags(metadata: Mapping[str, Scalar]) -> list[str]:
    """All tags of a passage, in the order of its metadata."""
    return [tag(field, value) for field, value in metadata.items()]


def fields(tag_lists: Iterable[Sequence[str]]) -> set[str]:
    """The metadata fields that occur in these lists of tags."""
    distinct = {one for tags_ in tag_lists for one in tags_}
    return {field for one in distinct for field in json.loads(one)}


def to_sql(where: Where) -> str:
    """The filter as a LanceDB predicate: every field equals its value, or one of its values.

    An empty filter is the empty string, an empty list of values matches nothing. Raises InputError
    for a value that cannot be compared.
    """
    return " AND ".join(_condition(field, value) for field, value in where.items())


def one_of(column: str, values: Iterable[str]) -> str:
    """`column` equals one of these strings."""
    listed = ", ".join(quote(value) for value in values)
    return f"{column} IN ({listed})" if listed else "false"


def quote(value: str) -> str:
    """An SQL string literal: a quote is doubled, nothing else means anything in it."""
    return "'" + value.replace("'", "''") + "'"


def _condition(field: str, value: Scalar | Sequence[Scalar]) -> str:
    values = [value] if isinstance(value, str | int | float | bool) else list(value)
    if field in COLUMNS:
        for one in values:
            if not isinstance(one, str):
                raise InputError(f"the filter {field!r} compares text, not {one!r}")
        return one_of(field, (scrub(str(one)) for one in values))
    listed = ", ".join(quote(tag(field, one)) for one in values)
    return f"array_has_any(tags, [{listed}])" if listed else "false"
