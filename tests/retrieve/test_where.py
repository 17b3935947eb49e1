from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.errors import InputError
from pointsman.retrieve.filters import fields, quote, tag, tags, to_sql
from pointsman.retrieve.lance import LanceIndex
from pointsman.text import scrub
from pointsman.types import FloatArray, Passage

NASTY = [
    "it's",
    "''",
    "'",
    '"',
    "back\\slash",
    "\\'",
    "100%",
    "_",
    "new\nline",
    "' OR 1=1 --",
    "'); DROP TABLE passages; --",
    "日本",
    "😀",
    "",
    " ",
    "a=b",
    "null",
    "{}",
    "`",
    "\ud800",
    "tab\tbell\x07",
    "?",
    "$1",
]


def test_quotes_are_doubled() -> None:
    assert quote("it's") == "'it''s'"


def test_predicates_by_hand() -> None:
    assert to_sql({}) == ""
    assert to_sql({"document": "a"}) == "document IN ('a')"
    assert to_sql({"year": [1, 2.0]}) == """array_has_any(tags, ['{"year": 1}', '{"year": 2}'])"""
    assert to_sql({"year": []}) == "false"


def test_types_compare_as_in_python_but_for_booleans() -> None:
    assert tag("x", 1) == tag("x", 1.0)
    assert len({tag("x", value) for value in (1, "1", True, "true")}) == 4
    assert fields([tags({"a": 1, "b=c": "d"}), tags({"a": 2})]) == {"a", "b=c"}


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, float("nan"), float("inf")])
def test_values_that_cannot_be_compared_are_named(value: object) -> None:
    with pytest.raises(InputError, match="'field'"):
        tag("field", value)  # type: ignore[arg-type]


def test_nasty_values_find_their_own_passage(
    index: LanceIndex, unit: Callable[..., FloatArray]
) -> None:
    passages = [
        Passage(f"p{i:02d}", f"text {i}", title=value, document=value, metadata={"k": value})
        for i, value in enumerate(NASTY)
    ]
    index.add(passages, unit(len(passages)))
    query = unit(1, seed=5)
    for i, value in enumerate(NASTY):
        for field in ("k", "document", "title"):
            dense = index.search(query, 50, where={field: value})[0]
            assert [hit.passage.id for hit in dense] == [f"p{i:02d}"], (field, value)
        words = index.search(None, 50, ["text"], where={"k": value})[0]
        assert [hit.passage.id for hit in words] == [f"p{i:02d}"]
        assert dense[0].passage.metadata == {"k": scrub(value)}
    assert len(index) == len(NASTY)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    year=st.lists(st.integers(1999, 2005), max_size=3),
    public=st.none() | st.booleans(),
    document=st.none() | st.sampled_from(["doc0", "doc1", "doc9"]),
)
def test_equals_filtering_in_python(
    index: LanceIndex,
    unit: Callable[..., FloatArray],
    numbered: Callable[..., list[Passage]],
    year: list[int],
    public: bool | None,
    document: str | None,
) -> None:
    passages = numbered(20)
    if not len(index):
        index.add(passages, unit(20))
    where: dict[str, object] = {"year": year}
    if public is not None:
        where["public"] = public
    if document is not None:
        where["document"] = document
    expected = {
        p.id
        for p in passages
        if p.metadata["year"] in year
        and (public is None or p.metadata["public"] is public)
        and (document is None or p.document == document)
    }
    query = unit(1, seed=9)
    dense = index.search(query, 50, where=where)[0]  # type: ignore[arg-type]
    words = index.search(None, 50, ["passage"], where=where)[0]  # type: ignore[arg-type]
    both = index.search(query, 50, ["passage"], where=where)[0]  # type: ignore[arg-type]
    assert {h.passage.id for h in dense} == {h.passage.id for h in words} == expected
    assert {h.passage.id for h in both} == expected
    scores = [hit.score for hit in dense]
    assert scores == sorted(scores, reverse=True)


def test_an_unknown_field_is_named_with_the_known(
    index: LanceIndex, unit: Callable[..., FloatArray], numbered: Callable[..., list[Passage]]
) -> None:
    query = np.asarray(unit(1))
    assert index.search(query, 3, where={"yaer": 2000}) == [[]]  # nothing stored, nothing known
    index.add(numbered(5), unit(5))
    for text in (None, ["passage"]):
        with pytest.raises(InputError, match=r"'yaer'.*document, lang, public, title, year"):
            index.search(query, 3, text, where={"yaer": 2000})
    assert index.search(query, 3, where={"year": 1066}) == [[]]
    with pytest.raises(InputError, match="'title' compares text, not 3"):
        index.search(query, 3, where={"title": 3})
