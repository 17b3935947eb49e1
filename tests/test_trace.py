"""The trace: sums, the tree that a person reads, and the JSON that a program reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.trace import Cost, Step, Trace, shorten
from pointsman.types import Answer, Passage, Span

TRACE = Trace(
    (
        Step("route", ("base",), (1.0,), ("base",), 0.0015),
        Step(
            "retrieve",
            tuple(f"doc{i}" for i in range(7)),
            tuple(1.0 - i / 10 for i in range(7)),
            ("doc0", "doc2"),
            0.25,
            note="hybrid, 7 passages",
        ),
        Step("defer", ("small", "large"), (), (), 0.0, note="expected costs"),
        Step("read", ("1779",), (0.875,), ("1779",), 0.5, Cost(gflops=2.5, seconds=0.5)),
    )
)


def test_costs_add_up() -> None:
    assert Cost(1, 2, 3) + Cost(0.5, 0.25, 0.125) == Cost(1.5, 2.25, 3.125)
    assert TRACE.seconds == pytest.approx(0.7515)
    assert TRACE.cost == Cost(gflops=2.5, seconds=0.5)
    assert (Trace().seconds, Trace().cost) == (0, Cost())


def test_the_tree() -> None:
    assert str(TRACE) == (
        "752 ms, 2.50 GFLOPs\n"
        "├─ route  1.5 ms\n"
        "│  ●   1.000  base\n"
        "├─ retrieve  250.0 ms  (hybrid, 7 passages)\n"
        "│  ●   1.000  doc0\n"
        "│  ○   0.900  doc1\n"
        "│  ●   0.800  doc2\n"
        "│  ○   0.700  doc3\n"
        "│  ○   0.600  doc4\n"
        "│  … 2 more\n"
        "├─ defer  0.0 ms  (expected costs)\n"
        "│  ○  small\n"
        "│  ○  large\n"
        "└─ read  500.0 ms\n"
        "   ●   0.875  1779"
    )


def test_an_option_of_several_lines_is_one_line_of_the_tree() -> None:
    step = Step("read", ("first line\n\n  second " + "word " * 50,), (1.0,), (), 0.0)
    lines = str(Trace((step,))).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("   ○   1.000  first line second word")
    assert lines[2].endswith("…")


def test_json_has_every_option_and_the_sums() -> None:
    back = json.loads(json.dumps(TRACE.as_dict()))
    assert back["seconds"] == TRACE.seconds
    assert back["cost"] == {"gflops": 2.5, "seconds": 0.5, "usd": 0.0}
    assert [step["stage"] for step in back["steps"]] == ["route", "retrieve", "defer", "read"]
    again = Trace(
        tuple(
            Step(
                **{
                    **step,
                    "options": tuple(step["options"]),
                    "scores": tuple(step["scores"]),
                    "choice": tuple(step["choice"]),
                    "cost": Cost(**step["cost"]),
                }
            )
            for step in back["steps"]
        )
    )
    assert again == TRACE


def test_an_answer_as_json() -> None:
    passage = Passage("p", "It opened in 1779.", "Bridge", "doc", 4, 22, {"year": 1779, "ok": True})
    span = Span("1779", 0, 13, 17, 2.0, 0.5)
    answer = Answer(
        "when?", "1779", 0.75, passage, 13, 17, "reader", ((span, passage),), trace=TRACE
    )
    back = json.loads(json.dumps(answer.as_dict(), allow_nan=False))
    assert back["passage"]["text"][back["start"] : back["end"]] == back["text"] == "1779"
    assert back["passage"]["metadata"] == {"year": 1779, "ok": True}
    assert back["alternatives"][0][0]["probability"] == 0.5
    assert back["trace"] == json.loads(json.dumps(TRACE.as_dict()))
    assert (back["abstained"], back["failure"]) == (False, "")


def test_content_joins_title_and_text() -> None:
    assert Passage("p", "text", "Title").content == "Title text"
    assert Passage("p", "text").content == "text"


@settings(deadline=None)
@given(st.text(), st.integers(min_value=1, max_value=80))
def test_shortened_is_one_line_that_fits(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= width
    assert "\n" not in short
    whole = " ".join(text.split())
    assert short == whole or (short[-1] == "…" and whole.startswith(short[:-1]))
