from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import EmptyCollectionError, InputError
from pointsman.evaluate.reading import exact_match, f1, normalize_answer, score_reading
from pointsman.types import ReadingExample


def example(id: str, *answers: str, cluster: str = "") -> ReadingExample:
    return ReadingExample(id=id, question="?", context="…", answers=answers, cluster=cluster)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, a hat!", "cat hat"),
        ("U.S.A.", "usa"),
        ("anthem theatre", "anthem theatre"),
        ("twenty-two", "twentytwo"),
        ("the\u00a0end\n", "end"),
        ("“the”", "“ ”"),  # only ASCII punctuation goes
        ("A", ""),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


def test_f1_by_hand() -> None:
    # precision 2/3, recall 2/4
    assert f1("big red dog", ["red dog house now"]) == pytest.approx(2 * 2 / 7)
    # a repeated token counts as often as it occurs on both sides: precision 1/2, recall 1
    assert f1("dog dog", ["dog"]) == pytest.approx(2 / 3)
    assert f1("cat", ["dog"]) == 0.0


def test_the_best_answer_counts() -> None:
    answers = ["Denver", "Denver Broncos", "The Denver Broncos."]
    assert exact_match("denver broncos", answers) == 1.0
    assert f1("Broncos", answers) == pytest.approx(2 / 3)
    assert exact_match("Broncos", answers) == 0.0


def test_no_answer_follows_squad_2() -> None:
    assert (exact_match("", []), f1("", [])) == (1.0, 1.0)
    assert (exact_match("the", []), f1("the", [])) == (1.0, 1.0)
    assert (exact_match("dog", []), f1("dog", [])) == (0.0, 0.0)
    assert (exact_match("", ["dog"]), f1("", ["dog"])) == (0.0, 0.0)


def test_an_answer_of_articles_only_follows_the_v1_script() -> None:
    assert (exact_match("a", ["The"]), f1("a", ["The"])) == (1.0, 0.0)


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=3))
def test_bounds_and_order(prediction: str, answers: list[str]) -> None:
    assert 0.0 <= f1(prediction, answers) <= 1.0
    assert f1(prediction, answers) == f1(prediction, answers[::-1])
    if normalize_answer(prediction):
        assert exact_match(prediction, answers) <= f1(prediction, answers)


def test_missing_predictions_count_zero_even_without_an_answer() -> None:
    examples = [example("1", "dog"), example("2", "cat", cluster="x"), example("3")]
    scores = score_reading({"1": "the dog", "elsewhere": "cat"}, iter(examples))
    assert scores.ids == ("1", "2", "3")
    assert scores.clusters == ("1", "x", "3")
    assert list(scores.em) == [1.0, 0.0, 0.0]
    assert scores.mean_f1 == pytest.approx(1 / 3)
    assert scores.missing == 2


def test_bad_input() -> None:
    with pytest.raises(EmptyCollectionError, match="no questions to score"):
        score_reading({}, [])
    with pytest.raises(InputError, match="question id '1' occurs more than once"):
        score_reading({"1": "x"}, [example("1", "x"), example("1", "y")])
    with pytest.raises(InputError, match=r"predictions have 'p', questions 'q'"):
        score_reading({"p": "x"}, [example("q", "x")])


@pytest.mark.data
def test_recorded_readers_have_their_published_scores(data_dir: Path) -> None:
    articles = json.loads((data_dir / "squad/squad-dev-v1.1.json").read_text("utf-8"))["data"]
    examples = [
        ReadingExample(
            id=qa["id"],
            question=qa["question"],
            context=paragraph["context"],
            answers=tuple(answer["text"] for answer in qa["answers"]),
            cluster=article["title"],
        )
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    scores = {
        path.stem: score_reading(json.loads(path.read_text("utf-8")), examples)
        for path in sorted((data_dir / "agents/squad-v1.1").glob("*.json"))
    }
    assert len(scores) == 10
    assert {len(each.ids) for each in scores.values()} == {10_570}
    assert {len(set(each.clusters)) for each in scores.values()} == {48}
    em = {name: round(100 * each.mean_em, 1) for name, each in scores.items()}
    assert em["BERT_ensemble_GoogleAI"] == max(em.values()) == 86.2
    assert em["LogisticRegressionBaseline_Stanford"] == min(em.values()) == 40.1
    anyone = sum(each.em for each in scores.values()) > 0
    assert round(100 * anyone.mean(), 1) == 95.0
