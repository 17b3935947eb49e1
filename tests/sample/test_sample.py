"""The sample collection is what its README says: complete, consistent, and clean text."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import pointsman.sample as sample
from pointsman.errors import InputError
from pointsman.sample import sample_directory, sample_questions


def read_jsonl(name: str) -> list[dict[str, Any]]:
    lines = (sample_directory() / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


CORPUS = read_jsonl("corpus.jsonl")
TEXTS: dict[str, str] = {row["_id"]: row["text"] for row in CORPUS}
FIELD_OF: dict[str, str] = {row["_id"]: row["metadata"]["field"] for row in CORPUS}
QUESTIONS = sample_questions()
ANSWERABLE = [question for question in QUESTIONS if question.passage is not None]


def occurs(phrase: str, text: str) -> bool:
    """As whole words, so that an answer "two" is not found in "network"."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None


def test_fields_are_many_and_of_equal_weight() -> None:
    passages = Counter(FIELD_OF.values())
    questions = Counter(FIELD_OF[str(question.passage)] for question in ANSWERABLE)
    assert len(passages) >= 5
    assert len(CORPUS) >= 130
    assert min(passages.values()) >= 25
    assert set(questions) == set(passages)
    assert min(questions.values()) >= 13


def test_rows_have_exactly_the_fields_of_beir() -> None:
    for row in CORPUS:
        assert set(row) == {"_id", "title", "text", "metadata"}
        assert set(row["metadata"]) == {"field"}
    assert all(set(row) == {"_id", "text"} for row in read_jsonl("queries.jsonl"))


def test_ids_titles_and_questions_are_unique() -> None:
    for values in (
        [row["_id"] for row in CORPUS],
        [row["title"].casefold() for row in CORPUS],
        [row["text"] for row in CORPUS],
        [question.id for question in QUESTIONS],
        [question.question.casefold() for question in QUESTIONS],
    ):
        assert [value for value, times in Counter(values).items() if times > 1] == []


def test_passages_are_short() -> None:
    lengths = {id: len(text.split()) for id, text in TEXTS.items()}
    assert {id: n for id, n in lengths.items() if not 40 <= n <= 130} == {}


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question.id)
def test_answers_are_spans_of_the_passage_and_not_given_away(
    question: sample.SampleQuestion,
) -> None:
    text = TEXTS[str(question.passage)]
    assert question.answers
    assert len(set(question.answers)) == len(question.answers)
    for answer in question.answers:
        assert answer == answer.strip()
        assert occurs(answer, text), answer
        assert answer.casefold() not in question.question.casefold(), answer


def test_unanswerable_questions_have_nothing_to_find() -> None:
    unanswerable = [question for question in QUESTIONS if question.passage is None]
    assert len(unanswerable) == 5
    assert all(question.answers == () for question in unanswerable)


def test_demonstration_has_a_dozen_questions_over_every_field() -> None:
    demo = [question for question in QUESTIONS if question.demo]
    assert len(demo) == 12
    assert sum(question.passage is None for question in demo) == 1
    covered = {FIELD_OF[question.passage] for question in demo if question.passage is not None}
    assert covered == set(FIELD_OF.values())


def test_queries_and_qrels_hold_exactly_the_answerable_questions() -> None:
    queries = {row["_id"]: row["text"] for row in read_jsonl("queries.jsonl")}
    assert queries == {question.id: question.question for question in ANSWERABLE}

    header, *lines = (sample_directory() / "qrels/test.tsv").read_text("utf-8").splitlines()
    assert header == "query-id\tcorpus-id\tscore"
    judged = [tuple(line.split("\t")) for line in lines]
    assert judged == [(question.id, question.passage, "1") for question in ANSWERABLE]


def test_text_is_clean() -> None:
    strings = [value for row in CORPUS for value in (row["_id"], row["title"], row["text"])]
    strings += [value for q in QUESTIONS for value in (q.id, q.question, *q.answers)]
    for string in strings:
        assert unicodedata.normalize("NFC", string) == string
        assert not any(unicodedata.category(character)[0] == "C" for character in string)
        assert not re.search(r"\s\s|[^\S ]|^\s|\s$", string), string
        assert not re.search(r" [,.;:?!](\s|$)|,,|\.\.|[,;:](?=[A-Za-z])", string), string
    for row in CORPUS:
        assert row["text"][0].isupper()
        assert row["text"].endswith(".")
    assert all(q.question.endswith("?") and q.question[0].isupper() for q in QUESTIONS)


def test_readme_counts_are_true() -> None:
    readme = (sample_directory() / "README.md").read_text("utf-8")
    assert f"{len(CORPUS)} short passages" in readme
    assert f"{len(QUESTIONS)} questions" in readme
    assert f"{len(ANSWERABLE)} questions that the collection answers" in readme
    for field in set(FIELD_OF.values()):
        assert f"| {field} |" in readme


def test_incomplete_installation_names_the_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sample_directory(), tmp_path / "sample")
    (tmp_path / "sample" / "qrels" / "test.tsv").unlink()
    monkeypatch.setattr(sample, "files", lambda _: tmp_path / "sample")
    with pytest.raises(InputError, match=r"qrels.test\.tsv is missing: install pointsman again"):
        sample_questions()
