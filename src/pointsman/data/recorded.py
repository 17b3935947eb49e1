"""Answers that systems gave, as their files hold them: question ids to texts, or tables judged by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.data.files import load_json
from pointsman.errors import FormatError, InputError

_ANSWER, _JUDGE = "answer_", "judge_"


def read_predictions(path: str | Path) -> dict[str, str]:
    """A file of predictions as SQuAD's script takes it: one object, question id -> answer.

    Raises InputError where it cannot be read, FormatError where it is not that.
    """
    found = load_json(path)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise FormatError(path, "predictions are one JSON object of question ids and answers")
    return {str(id): text for id, text in found.items()}


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question that several systems answered: their answers, and whether people call each right.

    A system that gave none stands in neither.
    """

    question: str
    golden: str
    answers: Mapping[str, str]
    right: Mapping[str, bool]


def read_judged_answers(path: str | Path) -> list[JudgedQuestion]:
    """A list of objects: question, golden_answer, and answer_NAME with judge_NAME of every system.

    Questions that are marked `improper` are left out, as their makers do. Raises InputError where it
    cannot be read or holds no question, FormatError where it is not that.
    """
    found = load_json(path)
    if not isinstance(found, list):
        raise FormatError(path, "judged answers are one JSON list")
    questions = []
    for number, each in enumerate(found):
        if not isinstance(each, dict) or not isinstance(each.get("question"), str):
            raise FormatError(path, f"entry {number} has no question")
        if each.get("improper"):
            continue
        names = [key.removeprefix(_ANSWER) for key in each if key.startswith(_ANSWER)]
        given = [
            name
            for name in names
            if isinstance(each[_ANSWER + name], str) and isinstance(each.get(_JUDGE + name), bool)
        ]
        questions.append(
            JudgedQuestion(
                each["question"],
                str(each.get("golden_answer", "")),
                {name: each[_ANSWER + name] for name in given},
                {name: each[_JUDGE + name] for name in given},
            )
        )
    if not questions:
        raise InputError(f"{path}: no judged question in it")
    return questions


def systems(questions: Sequence[JudgedQuestion]) -> list[str]:
    """The systems that answered at least one question, in the order in which they come."""
    return list(dict.fromkeys(name for each in questions for name in each.answers))
