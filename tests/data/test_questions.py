"""Natural Questions with gold passages, and multi-hop questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.data.multihop import MultihopQuestion, Paragraph, read_multihop, write_multihop
from pointsman.data.nq import OracleQuestion, read_oracle, reading_examples
from pointsman.errors import FormatError
from pointsman.types import Passage


def lines(folder: Path, *items: object) -> Path:
    file = folder / "a.jsonl"
    file.write_text("\n".join(json.dumps(item) for item in items) + "\n")
    return file


def oracle(answers: tuple[str, ...], text: str, title: str = "T") -> OracleQuestion:
    return OracleQuestion("q", "?", answers, title, text)


def test_ids_come_from_the_retrieval_view_else_from_the_line(tmp_path: Path) -> None:
    item = {"answers": ["a"], "title": "T", "text": "a b"}
    file = lines(tmp_path, {"question": "who", **item}, {"question": "what", **item})
    assert [one.id for one in read_oracle(file)] == ["line-1", "line-2"]
    assert [one.id for one in read_oracle(file, {"what": "q7"})] == ["line-1", "q7"]


def test_answers_are_marked_where_they_stand_first() -> None:
    question = oracle(
        ("Dai Xiuli", "Yongge Dai", "xiu li dai"), "Owned by Xiu Li Dai and Yongge Dai, Yongge Dai."
    )
    (example,) = reading_examples([question]).examples
    assert example.answers == ("Xiu Li Dai", "Yongge Dai")
    assert example.starts == (9, 24)
    assert example.cluster == "T"


def test_a_hard_space_is_a_space() -> None:
    (example,) = reading_examples([oracle(("54\xa0Mbit/s",), "up to 54 Mbit/s.")]).examples
    assert example.answers == ("54 Mbit/s",)


def test_questions_without_a_span_are_counted_not_dropped_in_silence() -> None:
    reading = reading_examples(
        [oracle(("no",), "x"), oracle((" ",), "x y"), oracle(("x",), "x", "")]
    )
    assert reading.not_found == ("q", "q")
    assert [example.cluster for example in reading.examples] == ["q"]


@given(st.lists(st.text(max_size=5), min_size=1), st.text())
def test_spans_are_what_stands_in_the_passage(answers: list[str], text: str) -> None:
    reading = reading_examples([oracle(tuple(answers), text)])
    for example in reading.examples:
        for answer, start in zip(example.answers, example.starts, strict=True):
            assert text[start : start + len(answer)] == answer
            assert answer.strip()
    assert bool(reading.examples) != bool(reading.not_found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": []}, "'answers' must be a list"),
        ({"answers": [None]}, "an answer must be text, not null"),
        ({"text": 3}, "'text' must be text, not a number"),
    ],
)
def test_bad_oracle_lines(tmp_path: Path, change: dict[str, object], message: str) -> None:
    item = {"question": "?", "answers": ["a"], "title": "T", "text": "a"}
    with pytest.raises(FormatError, match=message) as caught:
        list(read_oracle(lines(tmp_path, item, {**item, **change})))
    assert caught.value.line == 2


QUESTION = MultihopQuestion(
    "m1", "Who?", ("Ann", "Anne"), (Paragraph("A", "Ann is.", True), Paragraph("", "B", False))
)


def test_multihop_is_read_as_written(tmp_path: Path) -> None:
    write_multihop(tmp_path / "m.jsonl", [QUESTION])
    assert list(read_multihop(tmp_path / "m.jsonl")) == [QUESTION]
    assert QUESTION.passages == (
        Passage("m1-0", "Ann is.", "A", end=7),
        Passage("m1-1", "B", "", end=1),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "1"}, "the id '1' stands already on line 1"),
        ({"id": None}, "'id' must be text, not null"),
        ({"paragraphs": []}, "'paragraphs' must be a list that is not empty"),
        ({"paragraphs": [1]}, "a paragraph must be an object, not a number"),
        ({"paragraphs": [{"title": "T", "text": "x"}]}, "'is_supporting' must be true or false"),
        ({"answers": [1]}, "an answer must be text, not a number"),
    ],
)
def test_bad_multihop_lines(tmp_path: Path, change: dict[str, object], message: str) -> None:
    paragraphs = [{"title": "T", "text": "x", "is_supporting": True}]
    item = {"id": "1", "question": "?", "answers": ["a"], "paragraphs": paragraphs}
    with pytest.raises(FormatError, match=message) as caught:
        list(read_multihop(lines(tmp_path, item, {**item, "id": "2", **change})))
    assert caught.value.line == 2
