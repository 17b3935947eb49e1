"""Every file of the test bed is read, and holds as much as docs/data.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.data.beir import judged_queries, read_corpus, read_queries, splits
from pointsman.data.chunks import chunk
from pointsman.data.multihop import read_multihop
from pointsman.data.nq import read_oracle, reading_examples
from pointsman.data.sources import open_source, passages
from pointsman.data.squad import (
    question_paragraphs,
    read_predictions,
    read_squad,
    squad_paragraphs,
    write_squad,
)

pytestmark = pytest.mark.data

BEIR = {  # documents, queries judged in train, dev, test
    "scifact": (5_183, 730, 79, 300),
    "covidqa": (2_985, 809, 75, 495),
    "climate-fever": (5_240, 521, 126, 414),
    "cosqa": (6_267, 412, 88, 500),
    "newwiki": (1_581, 4_445, 767, 2_726),
    "amazon": (2_050, 5_308, 921, 3_454),
    "homedepot": (54_667, 9_186, 594, 1_753),
    "nq": (2_655, 1_322, 236, 1_097),
    "cranfield": (1_398, 0, 0, 225),
    "medline": (1_033, 0, 0, 30),
    "cisi": (1_460, 0, 0, 76),
    "cacm": (3_204, 0, 0, 52),
    "npl": (11_426, 0, 0, 93),
}

SQUAD = {  # questions, articles, distinct paragraphs
    "squad-dev-v1.1": (10_570, 48, 2_067),
    "squad-articles-train": (6_641, 30, 1_270),
    "squad-articles-dev": (1_954, 9, 358),
    "squad-articles-test": (1_975, 9, 439),
    "squadshifts-newwiki-train": (4_445, 28, 898),
    "squadshifts-newwiki-dev": (767, 4, 149),
    "squadshifts-newwiki-test": (2_726, 16, 534),
    "squadshifts-amazon-train": (5_308, 233, 1_158),
    "squadshifts-amazon-dev": (921, 40, 197),
    "squadshifts-amazon-test": (3_454, 140, 695),
    "covidqa-train": (809, 59, 59),
    "covidqa-dev": (75, 10, 10),
    "covidqa-test": (495, 29, 29),
    "policyqa-dev": (3_809, 20, 574),
    "policyqa-test": (4_152, 20, 497),
}

ORACLE = {"train": (1_322, 5), "dev": (236, 1), "test": (1_097, 10)}
MULTIHOP = {
    "hotpotqa-train100": (100, 10),
    "hotpotqa-dev500": (500, 10),
    "2wiki-train500": (500, 10),
    "2wiki-dev164": (164, 10),
    "musique-train100": (100, 20),
}


def test_nothing_of_the_bed_is_left_out(data_dir: Path) -> None:
    assert {path.name for path in (data_dir / "beir").iterdir()} == set(BEIR)
    assert {path.stem for path in (data_dir / "squad").glob("*.json")} == set(SQUAD)
    assert {path.stem for path in (data_dir / "multihop").glob("*.jsonl")} == set(MULTIHOP)


@pytest.mark.parametrize("name", BEIR)
def test_beir(data_dir: Path, name: str) -> None:
    folder = data_dir / "beir" / name
    documents = {document.id for document in read_corpus(folder)}
    known = {query.id for query in read_queries(folder)}
    counts = dict.fromkeys(("train", "dev", "test"), 0)
    for split in splits(folder):
        queries, qrels = judged_queries(folder, split)
        counts[split] = len(queries)
        assert known >= qrels.keys()
        assert all(documents >= judged.keys() for judged in qrels.values())
    assert (len(documents), *counts.values()) == BEIR[name]


def test_grades_are_those_that_are_stated(data_dir: Path) -> None:
    for name, grades in (("homedepot", {1, 2}), ("cranfield", {1, 2, 3, 4}), ("nq", {1})):
        _, qrels = judged_queries(data_dir / "beir" / name)
        assert {grade for judged in qrels.values() for grade in judged.values()} == grades


@pytest.mark.parametrize("name", SQUAD)
def test_squad(data_dir: Path, name: str, tmp_path: Path) -> None:
    file = data_dir / "squad" / f"{name}.json"
    examples = list(read_squad(file))  # every offset of every answer is checked on the way
    paragraphs = {one.id: one.text for one in squad_paragraphs(file)}
    clusters = {example.cluster for example in examples}
    assert (len(examples), len(clusters), len(paragraphs)) == SQUAD[name]
    gold = question_paragraphs(file)
    assert all(paragraphs[gold[example.id]] == example.context for example in examples)
    assert all(example.answers for example in examples)
    write_squad(tmp_path / "copy.json", examples)
    copy = {example.id: example for example in read_squad(tmp_path / "copy.json")}
    assert copy == {example.id: example for example in examples}


def test_ten_readers_answered_the_official_dev_set(data_dir: Path) -> None:
    asked = question_paragraphs(data_dir / "squad" / "squad-dev-v1.1.json").keys()
    files = sorted((data_dir / "agents" / "squad-v1.1").glob("*.json"))
    assert len(files) == 10
    missing = {file.stem: len(asked - read_predictions(file).keys()) for file in files}
    # One reader answered an earlier edition; the official measure counts what is missing as wrong.
    assert {name: count for name, count in missing.items() if count} == {
        "LogisticRegressionBaseline_Stanford": 13
    }


@pytest.mark.parametrize("split", ORACLE)
def test_natural_questions(data_dir: Path, split: str) -> None:
    ids = {query.text: query.id for query in read_queries(data_dir / "beir" / "nq")}
    questions = list(read_oracle(data_dir / "agents" / f"nq-oracle-{split}.jsonl", ids))
    judged, _ = judged_queries(data_dir / "beir" / "nq", split)
    assert {question.id for question in questions} == {query.id for query in judged}
    reading = reading_examples(questions)
    assert reading.not_found == ()
    assert len(reading.examples) == ORACLE[split][0]
    # Only the kind of space keeps these answers from standing in their passages as they are.
    inexact = [q for q in questions if not any(answer in q.text for answer in q.answers)]
    assert len(inexact) == ORACLE[split][1]


@pytest.mark.parametrize("name", MULTIHOP)
def test_multihop(data_dir: Path, name: str) -> None:
    questions = list(read_multihop(data_dir / "multihop" / f"{name}.jsonl"))
    count, paragraphs = MULTIHOP[name]
    assert len(questions) == count
    assert max(len(question.paragraphs) for question in questions) == paragraphs
    assert all(any(one.is_supporting for one in question.paragraphs) for question in questions)


def test_collections_become_passages_one_a_document(data_dir: Path) -> None:
    source = open_source(data_dir / "beir" / "cacm")
    # More than half of CACM is titles alone; they are found by them.
    assert sum(1 for _ in passages(source)) == BEIR["cacm"][0]
    assert not source.skipped


def test_long_papers_are_cut_without_loss(data_dir: Path) -> None:
    for document in squad_paragraphs(data_dir / "squad" / "covidqa-dev.json"):
        cut = chunk(document)
        assert len(cut) > 1
        end = 0
        for passage in cut:
            assert len(passage.text) <= 900
            assert passage.text == document.text[passage.start : passage.end]
            assert not document.text[end : passage.start].strip()
            end = passage.end
        assert not document.text[end:].strip()
