from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.data.beir import write_beir
from pointsman.errors import InputError
from pointsman.grade.card import grader_card
from pointsman.grade.judged import MEANINGS, read_judged
from pointsman.grade.mining import GRADES
from pointsman.types import Document, Query
from tiny import write_tiny

COLOURS = ["red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "silver"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone.load(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu", dtype="fp32")


def write_set(folder: Path, parts: dict[str, range]) -> Path:
    """A hundred documents, each wanted by the query of its number."""
    documents = [
        Document(f"d{i}", f"{COLOURS[i % 10]} {COLOURS[i // 10]} here comes {i}")
        for i in range(100)
    ]
    wanted = sorted({i for numbers in parts.values() for i in numbers})
    queries = [Query(f"q{i}", f"what is {COLOURS[i % 10]} {COLOURS[i // 10]} {i}") for i in wanted]
    qrels = {part: {f"q{i}": {f"d{i}": 1} for i in numbers} for part, numbers in parts.items()}
    write_beir(folder, documents, queries, qrels)
    return folder


def test_two_collections(tmp_path: Path, backbone: Backbone) -> None:
    one = write_set(
        tmp_path / "one", {"train": range(20), "dev": range(20, 26), "test": range(30, 35)}
    )
    # What the first is tested on stands among the second's training queries.
    two = write_set(tmp_path / "two", {"train": range(28, 68), "test": range(90, 95)})
    seen: list[str] = []
    source = read_judged(
        [one, two],
        backbone,
        ArrayCache(tmp_path / "cache"),
        progress=lambda name, done, total: seen.append(name),
    )
    assert (source.name, source.grading.names, source.dev_held_out) == ("one, two", GRADES, True)
    asked = {query for query, _ in source.train.pairs}
    watched = {query for query, _ in source.dev.pairs}
    # 20 of the first; of the second's 40 five are tested on elsewhere and 15 % of 35 are held out.
    assert (len(asked), len(watched)) == (20 + 30, 6 + 5)
    assert not asked & watched
    assert not {int(query.split()[-1]) for query in asked | watched} & set(range(30, 35))
    relevant = [
        (query, text)
        for (query, text), label in zip(source.train.pairs, source.train.labels, strict=True)
        if label == 2
    ]
    assert len(relevant) == 50
    assert all(query.split()[-1] == text.split()[-1] for query, text in relevant)
    assert set(seen) == {"one", "two"}
    some = read_judged([one, two], backbone, ArrayCache(tmp_path / "cache"), limit=8)
    assert len({query for query, _ in some.train.pairs}) == 16


def test_the_card_says_what_grades_mean(tmp_path: Path, backbone: Backbone) -> None:
    folder = write_set(tmp_path / "one", {"train": range(20), "dev": range(20, 26)})
    source = read_judged([folder], backbone, ArrayCache(tmp_path / "cache"))
    recipe = {
        "rank": 4,
        "head": "plain",
        "batch_size": 16,
        "plan": {"learning_rate": 1e-3, "seed": 0},
        "objective": {"occ": 0, "smoothing": 0},
        "probing": False,
    }
    training = {"data": source.record("MIT"), "recipe": recipe, "steps": 9, "seconds": 1}
    scores = {"nll": 0.5, "macro_f1": 0.5, "ece": 0.1}
    numbers = {"calibration": {"before": scores, "after": scores, "chosen": "none"}}
    card = grader_card("general", "tiny", {**training, "command": "train"}, numbers)
    assert "| grade | meaning | training pairs | dev pairs |" in card
    assert f"| relevant | {MEANINGS[2]} | 20 | " in card


def test_a_collection_that_nobody_asked(tmp_path: Path, backbone: Backbone) -> None:
    folder = write_set(tmp_path / "one", {"test": range(5)})
    with pytest.raises(InputError, match=r"one: no training queries \(qrels/train.tsv\)"):
        read_judged([folder], backbone, ArrayCache(tmp_path / "cache"))
