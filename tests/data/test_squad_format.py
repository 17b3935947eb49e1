"""SQuAD files: clusters, offsets, paragraphs, both versions, and back again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pointsman.data.squad import (
    question_paragraphs,
    read_predictions,
    read_squad,
    squad_paragraphs,
    write_predictions,
    write_squad,
)
from pointsman.errors import FormatError, InputError
from pointsman.types import Document, ReadingExample


def qa(
    id: object, question: str = "Q?", *answers: tuple[str, int], **more: object
) -> dict[str, object]:
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": id, "question": question, "answers": listed, **more}


def article(title: object, *paragraphs: tuple[str, list[dict[str, object]]]) -> dict[str, object]:
    return {"title": title, "paragraphs": [{"context": c, "qas": q} for c, q in paragraphs]}


def squad(folder: Path, *articles: object) -> Path:
    file = folder / "squad.json"
    file.write_text(json.dumps({"version": "1.1", "data": list(articles)}))
    return file


def test_reads_every_annotator_and_the_title(tmp_path: Path) -> None:
    file = squad(
        tmp_path,
        article("Super_Bowl_50", ("Ünï won 24–10.", [qa("a", "Score?", ("24–10", 8), ("24", 8))])),
    )
    assert list(read_squad(file)) == [
        ReadingExample(
            id="a",
            question="Score?",
            context="Ünï won 24–10.",
            answers=("24–10", "24"),
            starts=(8, 8),
            title="Super Bowl 50",
            cluster="Super_Bowl_50",
        )
    ]


def test_version_two_has_questions_without_answer(tmp_path: Path) -> None:
    plausible = [{"text": "x", "answer_start": 0}]
    file = squad(
        tmp_path,
        article(
            "T",
            (
                "x y",
                [
                    qa("a", "?", is_impossible=True, plausible_answers=plausible),
                    qa("b", "?", ("y", 2)),
                ],
            ),
        ),
    )
    assert [example.answers for example in read_squad(file)] == [(), ("y",)]


def test_clusters_tell_articles_apart_whatever_their_titles(tmp_path: Path) -> None:
    names = ["", "A", "B", "A", None]
    file = squad(tmp_path, *(article(name, ("x", [qa(i)])) for i, name in enumerate(names)))
    examples = list(read_squad(file))
    assert [e.cluster for e in examples] == [
        "article-0",
        "article-1",
        "B",
        "article-3",
        "article-4",
    ]
    assert [e.title for e in examples] == ["", "A", "B", "A", ""]
    assert [e.id for e in examples] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("answer", "found"),
    [(("won", 5), "on 24"), (("won", -3), "''"), (("", 0), "''"), (("won", 99), "''")],
)
def test_an_answer_that_is_not_at_its_offset_names_the_question(
    tmp_path: Path, answer: tuple[str, int], found: str
) -> None:
    file = squad(tmp_path, article("T", ("Ünï won 24", [qa("q-17", "?", answer)])))
    with pytest.raises(
        FormatError, match=r"question 'q-17': the answer '.*' does not stand at"
    ) as caught:
        list(read_squad(file))
    assert found[:3] in str(caught.value)


def test_offsets_stay_true_when_text_is_scrubbed(tmp_path: Path) -> None:
    context = "a\x00b \ud800 c"
    file = squad(tmp_path, article("T", (context, [qa("1", "?", ("\ud800 c", 4))])))
    (example,) = read_squad(file)
    assert example.context == "a\ufffdb \ufffd c"
    assert example.answers == ("\ufffd c",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[]", "not a SQuAD file"),
        ('{"data": {}}', "not a SQuAD file"),
        ('{"data": [3]}', r"data\[0\] must be an object, not a number"),
        ('{"data": [{"title": "T"}]}', r"data\[0\]\.paragraphs must be a list, not missing"),
        (
            '{"data": [{"title": "T", "paragraphs": [{"qas": []}]}]}',
            r"data\[0\]\.paragraphs\[0\]\.context must be text, not missing",
        ),
        (
            '{"data": [{"title": "T", "paragraphs": [{"context": "x", "qas": [{"id": "1"}]}]}]}',
            r"qas\[0\]\.answers must be a list, not missing",
        ),
        ('{"data": [', ":1: not valid JSON"),
    ],
)
def test_what_is_not_squad_says_where(tmp_path: Path, data: str, message: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(data)
    with pytest.raises(FormatError, match=message):
        list(read_squad(file))


def test_a_question_id_stands_once(tmp_path: Path) -> None:
    file = squad(tmp_path, article("T", ("x", [qa("1"), qa("1")])))
    with pytest.raises(FormatError, match="the question id '1' stands twice"):
        list(read_squad(file))


def test_paragraphs_stand_once_and_every_question_has_one(tmp_path: Path) -> None:
    file = squad(
        tmp_path,
        article("A_b", ("one", [qa("1")]), ("two", [qa("2"), qa("3")])),
        article("C", ("one", [qa("4")]), ("three", [qa("5")])),
    )
    assert list(squad_paragraphs(file)) == [
        Document("0-0", "one", "A b"),
        Document("0-1", "two", "A b"),
        Document("1-1", "three", "C"),
    ]
    assert question_paragraphs(file) == {"1": "0-0", "2": "0-1", "3": "0-1", "4": "0-0", "5": "1-1"}


@pytest.mark.parametrize("impossible", [False, True])
def test_what_is_written_is_read_again(tmp_path: Path, impossible: bool) -> None:
    made = squad(
        tmp_path,
        article(
            "A_b",
            ("one x", [qa("1", "?", ("x", 4), ("x", 4))]),
            ("two", [qa("2", "?", ("two", 0))]),
        ),
        article("", ("ünï y", [qa("3", "?", *([] if impossible else [("y", 4)]))])),
        article("D e", ("d", [qa("4", "?", ("d", 0))])),
        article("D e", ("e", [qa("5", "?", ("e", 0))])),
    )
    examples = list(read_squad(made))
    copy = tmp_path / "copy.json"
    write_squad(copy, examples)
    assert list(read_squad(copy)) == examples
    assert json.loads(copy.read_text())["version"] == ("v2.0" if impossible else "1.1")


def test_predictions(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    write_predictions(file, {"b": "é", "a": ""})
    assert read_predictions(file) == {"b": "é", "a": ""}
    file.write_text('{"a": "x", "a": "y"}')
    with pytest.raises(FormatError, match="the key 'a' stands twice"):
        read_predictions(file)
    file.write_text('{"a": 3}')
    with pytest.raises(FormatError, match="the prediction for 'a' must be text, not a number"):
        read_predictions(file)
    file.write_text('["a"]')
    with pytest.raises(FormatError, match="predictions are a JSON object, not a list"):
        read_predictions(file)
    with pytest.raises(InputError, match="no such file"):
        read_predictions(tmp_path / "none.json")
