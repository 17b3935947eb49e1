"""On the test bed: nothing that is tested stands in what is trained or tuned on, in any view."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from pointsman.data.beir import SPLITS, judged_queries, splits
from pointsman.data.files import load_json
from pointsman.data.multihop import read_multihop
from pointsman.data.nq import read_oracle
from pointsman.data.splits import overlap
from pointsman.data.squad import read_squad, squad_paragraphs

pytestmark = pytest.mark.data

Part = tuple[str, str]
Questions = dict[str, str]

VIEWS = (
    ("beir/newwiki", "squad/squadshifts-newwiki"),
    ("beir/amazon", "squad/squadshifts-amazon"),
    ("beir/covidqa", "squad/covidqa"),
)
"""Two views of one source that share the questions' ids."""

REPEATS: dict[Part, tuple[int, tuple[str, ...]]] = {
    # Short questions ("how is it described") that customers ask of many products; no product is in
    # both parts. Tuning may see such a question, never a product that is tested.
    ("beir/amazon", "dev"): (21, ("beir/amazon", "squad/squadshifts-amazon")),
    ("squad/squadshifts-amazon", "dev"): (21, ("beir/amazon", "squad/squadshifts-amazon")),
    # The published sets hold these claims twice under two ids, and the split goes by id.
    ("beir/climate-fever", "train"): (11, ("beir/climate-fever",)),
    ("beir/climate-fever", "dev"): (6, ("beir/climate-fever",)),
    ("beir/scifact", "train"): (2, ("beir/scifact",)),
    # Questions are a few hundred templates asked of every company; the parts differ in companies.
    ("squad/policyqa", "dev"): (507, ("squad/policyqa",)),
}
"""The only parts that share question texts with a test part: how many, and with which sets' tests."""


@cache
def parts(bed: Path) -> dict[Part, Questions]:
    """Every part of every view: question id -> text."""
    found: dict[Part, Questions] = {}
    for folder in sorted((bed / "beir").iterdir()):
        for split in splits(folder):
            queries, _ = judged_queries(folder, split)
            found[f"beir/{folder.name}", split] = {query.id: query.text for query in queries}
    for file in sorted((bed / "squad").glob("*.json")):
        name, _, split = file.stem.rpartition("-")
        if split in SPLITS:
            found[f"squad/{name}", split] = {one.id: one.question for one in read_squad(file)}
    for split in SPLITS:
        oracle = read_oracle(bed / "agents" / f"nq-oracle-{split}.jsonl")
        found["agents/nq-oracle", split] = {one.id: one.question for one in oracle}
    for split in ("train", "test"):
        judged = load_json(bed / "agents" / f"evouna-nq-{split}.json")
        assert isinstance(judged, list)
        found["agents/evouna-nq", split] = {str(n): one["question"] for n, one in enumerate(judged)}
    for file in sorted((bed / "multihop").glob("*.jsonl")):
        name, _, split = file.stem.rpartition("-")
        # What hotpotqa and 2wiki are tested on is called dev, as their publishers call it.
        split = "test" if split.startswith("dev") else "train"
        found[f"multihop/{name}", split] = {one.id: one.question for one in read_multihop(file)}
    return found


def test_every_view_is_looked_at(data_dir: Path) -> None:
    assert Counter(split for _, split in parts(data_dir)) == {"test": 22, "train": 17, "dev": 14}


def test_no_test_question_is_trained_or_tuned_on_in_any_view(data_dir: Path) -> None:
    found = parts(data_dir)
    shared: dict[tuple[Part, str], int] = {}
    for part, questions in found.items():
        for (name, split), held_out in found.items():
            if part[1] != "test" and split == "test":
                both = overlap(questions.values(), held_out.values())
                if both:
                    shared[part, name] = len(both)
    assert shared == {
        (part, name): count for part, (count, tests) in REPEATS.items() for name in tests
    }


def test_no_id_stands_in_two_parts_of_a_source(data_dir: Path) -> None:
    found = parts(data_dir)
    for name in {name for name, _ in found} - {"agents/nq-oracle", "agents/evouna-nq"}:
        times = Counter(id for split in SPLITS for id in found.get((name, split), ()))
        assert all(count == 1 for count in times.values()), name


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("split", SPLITS)
def test_two_views_have_the_same_parts_by_id(
    data_dir: Path, views: tuple[str, str], split: str
) -> None:
    found = parts(data_dir)
    assert found[views[0], split].keys() == found[views[1], split].keys()


@pytest.mark.parametrize("split", SPLITS)
def test_the_views_of_natural_questions_agree_by_text(data_dir: Path, split: str) -> None:
    found = parts(data_dir)
    assert set(found["beir/nq", split].values()) == set(found["agents/nq-oracle", split].values())


def test_judged_systems_follow_the_parts_of_natural_questions(data_dir: Path) -> None:
    found = parts(data_dir)
    shared = {
        (split, judged): len(
            overlap(found["beir/nq", split].values(), found["agents/evouna-nq", judged].values())
        )
        for split in SPLITS
        for judged in ("train", "test")
    }
    # It has no dev part: what is dev in the other views is train there.
    assert {pair for pair, count in shared.items() if count} == {
        ("train", "train"),
        ("dev", "train"),
        ("test", "test"),
    }


def test_squad_articles_are_parted_by_their_place_in_the_official_file(data_dir: Path) -> None:
    whole = list(read_squad(data_dir / "squad" / "squad-dev-v1.1.json"))
    place = {
        cluster: index for index, cluster in enumerate(dict.fromkeys(e.cluster for e in whole))
    }
    assert len(place) == 48
    for split, folds in (("train", {0, 1, 2}), ("dev", {3}), ("test", {4})):
        expected = {e.id for e in whole if place[e.cluster] % 5 in folds}
        assert parts(data_dir)["squad/squad-articles", split].keys() == expected


@pytest.mark.parametrize(
    ("name", "shared"),
    # PolicyQA: two paragraphs of boilerplate that stand word for word in policies of both parts.
    [
        ("squad-articles", 0),
        ("squadshifts-newwiki", 0),
        ("squadshifts-amazon", 0),
        ("covidqa", 0),
        ("policyqa", 2),
    ],
)
def test_no_tested_paragraph_is_trained_on(data_dir: Path, name: str, shared: int) -> None:
    texts = {
        split: {one.text for one in squad_paragraphs(file)}
        for split in SPLITS
        if (file := data_dir / "squad" / f"{name}-{split}.json").exists()
    }
    seen = texts.get("train", set()) | texts["dev"]
    assert len(seen & texts["test"]) == shared


@pytest.mark.parametrize("name", ["newwiki", "amazon", "covidqa"])
def test_no_document_is_positive_on_both_sides(data_dir: Path, name: str) -> None:
    positive = {
        split: {
            document
            for judged in judged_queries(data_dir / "beir" / name, split)[1].values()
            for document, grade in judged.items()
            if grade > 0
        }
        for split in SPLITS
    }
    assert not (positive["train"] | positive["dev"]) & positive["test"]


def test_graded_pairs_are_parted_by_query(data_dir: Path) -> None:
    given = load_json(data_dir / "graded" / "homedepot-splits.json")
    assert isinstance(given, dict)
    assert set(given) == {"train", "pool", "id_dev", "id_test", "ood_test"}
    queries = [query for part in given.values() for query in part]
    assert len(queries) == len(set(queries)) == 11_793
