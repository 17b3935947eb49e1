"""How an answer is cut out of its passage and shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.cli.answers import answer_lines, excerpt, way
from pointsman.cli.output import counted, duration
from pointsman.trace import Cost, Step, Trace
from pointsman.types import Answer, Passage, Span

BRIDGE = (
    "It crosses the Severn. Thomas Pritchard designed the first iron bridge,\nand Abraham Darby "
    "cast it. It opened in 1781."
)


def cut(text: str, answer: str, **limits: int) -> str:
    start = text.index(answer)
    return excerpt(text, start, start + len(answer), **limits).text(marks=True).plain


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        (
            BRIDGE,
            "Thomas Pritchard",
            "▸Thomas Pritchard◂ designed the first iron bridge, and Abraham Darby cast it.",
        ),
        (BRIDGE, "1781", "It opened in ▸1781◂."),
        (BRIDGE, "Severn", "It crosses the ▸Severn◂."),
        ("He lived in St. Albans until 1620. Then he left.", "1620",
         "He lived in St. Albans until ▸1620◂."),
        ("It holds until about 80. Boiled longer, it turns green.", "green",
         "Boiled longer, it turns ▸green◂."),
        ("Rails lie 1.435 metres apart, e.g. here.", "1.435 metres",
         "Rails lie ▸1.435 metres◂ apart, e.g. here."),
        ("A heading\n\nThe answer is 42, they say.", "42", "The answer is ▸42◂, they say."),
        ("東京は日本の首都です。京都は古い都です。", "京都", "▸京都◂は古い都です。"),
        ("Really? Yes! Here ends it", "ends", "Here ▸ends◂ it"),
        ('She said "Never." Then J. S. Bach, e.g. Mr. Bach, came.', "came",
         "Then J. S. Bach, e.g. Mr. Bach, ▸came◂."),
        # An answer over the end of a sentence takes both.
        ("First one here. Second one here. Third.", "here. Second",
         "First one ▸here. Second◂ one here."),
    ],
)  # fmt: skip
def test_the_sentence_that_holds_the_answer(text: str, answer: str, expected: str) -> None:
    assert cut(text, answer) == expected


def test_a_long_sentence_is_cut_at_words_on_both_sides() -> None:
    text = "before " * 200 + "ANSWER" + " after" * 200
    shown = cut(text, "ANSWER", longest=60)
    assert shown.startswith("… before before")
    assert shown.endswith("after after …")
    assert len(shown) <= 60 + len("▸◂……  ")


def test_room_that_one_side_leaves_goes_to_the_other() -> None:
    text = "ANSWER" + " after" * 200
    shown = cut(text, "ANSWER", longest=106)
    assert 90 <= len(shown) <= 112


def test_colour_takes_the_place_of_marks() -> None:
    text = excerpt("It is red.", 6, 9).text(marks=False)
    assert text.plain == "It is red."
    assert [(span.start, span.end) for span in text.spans] == [(6, 9)]


@given(st.text(), st.data())
def test_any_text_gives_one_line_with_the_answer_in_it(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    shown = excerpt(text, start, end, longest=40)
    assert shown.marked == " ".join(text[start:end].split())
    line = shown.before + shown.marked + shown.after
    assert "\n" not in line
    without = "".join(line.replace("…", "").split())
    assert without in "".join(text.replace("…", "").split())


TRACE = Trace(
    (
        Step("route", ("base",), (1.0,), ("base",), 0.010),
        Step("retrieve", ("a", "b"), (1.0, 0.5), ("a", "b"), 0.100, note="hybrid, 2 passages"),
        Step("grade", ("a", "b"), (), ("a", "b"), 0.0, note="ungraded"),
        Step("select", ("a", "b"), (), ("b",), 0.0, note="1 of 2"),
        Step("defer", ("reader", "llm"), (0.1, 0.9), ("reader",), 0.0),
        Step("read", ("x",), (0.9,), ("x",), 0.072, cost=Cost(gflops=1.94)),
    )
)


def test_the_way_is_one_line_of_80_columns() -> None:
    assert way(TRACE) == (
        "route base → retrieve hybrid 2 → select 1 → reader · 182 ms · 1.9 GFLOPs"
    )


def test_an_allocation_to_nobody_is_an_abstention() -> None:
    step = Step("defer", ("reader",), (0.1,), (), 0.0)
    assert way(Trace((step,))).startswith("abstain · ")


def lines(answer: Answer) -> list[str]:
    return [line.plain for line in answer_lines(answer, marks=True)]


def test_an_answer_with_its_source_and_confidence() -> None:
    passage = Passage(id="p-1", text="It is red.", title="Colours")
    answer = Answer("What?", "red", 0.934, passage, 6, 9, "reader", trace=TRACE)
    assert lines(answer)[:3] == ["red  93%", "It is ▸red◂.", "Colours · p-1"]


def graded(*choice: str) -> Trace:
    """The same way, with a grader's opinion of both passages."""
    step = Step("grade", ("b", "a"), (0.7512, 0.2), choice, 0.0, note="no, yes")
    return Trace((*TRACE.steps[:2], step, *TRACE.steps[3:]))


def test_a_source_with_its_relevance() -> None:
    passage = Passage(id="b", text="It is red.", title="Colours")
    answer = Answer("What?", "red", 0.934, passage, 6, 9, "reader", trace=graded("b"))
    shown = lines(answer)
    assert shown[2] == "Colours · b · relevance 0.75"
    assert shown[3].startswith("route base → retrieve hybrid 2 → grade 1 → select 1 → reader · ")


def test_nothing_relevant_shows_what_was_nearest() -> None:
    answer = Answer("What?", "", 0.0, abstained=True, trace=graded())
    assert lines(answer)[:2] == [
        "no answer  (nothing relevant found)",
        "nearest, but not relevant enough: b (0.75), a (0.20)",
    ]


def test_an_answer_that_is_no_span_names_its_source_alone() -> None:
    passage = Passage(id="p-1", text="It is red.")
    assert lines(Answer("What?", "crimson", 0.5, passage)) == ["crimson  50%", "p-1"]


def test_an_answer_without_a_source() -> None:
    assert lines(Answer("What?", "crimson", 0.5)) == ["crimson  50%"]


def test_an_abstention_shows_the_best_guess() -> None:
    span = Span("a blue  one", 0, 0, 4, -1.0, 0.1)
    answer = Answer(
        "What?", "", 0.04, alternatives=((span, Passage(id="p", text="blue")),), abstained=True
    )
    assert lines(answer) == ["no answer  (4% for “a blue one”)"]


def test_an_abstention_without_any_passage() -> None:
    assert lines(Answer("What?", "", 0.0, abstained=True)) == [
        "no answer  (nothing was found that could hold one)"
    ]


def test_a_failure_says_what_failed() -> None:
    assert lines(Answer("What?", "", 0.0, failure="timed out")) == ["no answer  (timed out)"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.182, "182 ms"), (1.94, "1.9 s"), (75, "1 min"), (3540, "59 min"), (12000, "3 h 20 min")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_counted() -> None:
    assert [counted(n, "passage") for n in (0, 1, 2067)] == [
        "0 passages",
        "1 passage",
        "2,067 passages",
    ]
