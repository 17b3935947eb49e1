"""Recorded answers: predictions and judged tables, and files that are neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pointsman.data.recorded import read_judged_answers, read_predictions, systems
from pointsman.errors import FormatError, InputError


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_predictions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"q1": "red", "q2": ""})
    assert read_predictions(path) == {"q1": "red", "q2": ""}
    for content in ([], {"q1": 3}):
        with pytest.raises(FormatError, match="one JSON object of question ids and answers"):
            read_predictions(write(path, content))
    with pytest.raises(InputError):
        read_predictions(tmp_path / "nowhere.json")


def test_judged_answers(tmp_path: Path) -> None:
    entry = {
        "question": "what",
        "golden_answer": "red",
        "answer_a": "red",
        "judge_a": True,
        "answer_b": None,
        "judge_b": False,
    }
    improper = {**entry, "improper": True}
    last = {"question": "who", "answer_b": "blue", "judge_b": False}
    found = read_judged_answers(write(tmp_path / "a.json", [entry, improper, last]))
    assert [each.question for each in found] == ["what", "who"]
    assert (found[0].answers, found[0].right) == ({"a": "red"}, {"a": True})
    assert found[0].golden == "red"
    assert systems(found) == ["a", "b"]
    with pytest.raises(FormatError, match="one JSON list"):
        read_judged_answers(write(tmp_path / "b.json", {}))
    with pytest.raises(FormatError, match="entry 1 has no question"):
        read_judged_answers(write(tmp_path / "b.json", [entry, {"answer_a": "x"}]))
    with pytest.raises(InputError, match="no judged question"):
        read_judged_answers(write(tmp_path / "b.json", [improper]))
