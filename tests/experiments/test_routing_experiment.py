"""The routing experiment on a bed of three small domains, of which one is unseen."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from domains import COLOURS, FILLERS, LETTERS, PARTS, QUICK
from pointsman.backbone.encoder import Backbone
from pointsman.collection.judged import Documents, Judged
from pointsman.data.arrays import ArrayCache
from pointsman.data.beir import write_beir
from pointsman.errors import InputError
from pointsman.evaluate.tables import Cell, Table
from pointsman.experiments.report import silent
from pointsman.experiments.routing.bed import load_set, pooled
from pointsman.experiments.routing.rows import Known, controls, leave_one_out
from pointsman.experiments.routing.run import run
from pointsman.experiments.routing.studies import asked_before
from pointsman.experiments.routing.views import View
from pointsman.hybrid import Keywords
from pointsman.route.familiarity import Domain
from pointsman.types import Document, Query
from tiny import write_tiny

# Each domain speaks its own words and pairs letters with colours its own way.
SEEN = {"first": (FILLERS[:4], 0), "second": (FILLERS[4:], 3)}
UNSEEN = {"third": (FILLERS[2:6], 5)}


def write_domain(folder: Path, words: list[str], shift: int, parts: dict[str, int]) -> None:
    rng = random.Random(folder.name)
    documents = [Document(colour, f"the colour {colour} comes here") for colour in COLOURS]
    queries, qrels, taken = [], {}, set()
    for part, count in parts.items():
        judged: dict[str, dict[str, int]] = {}
        while len(judged) < count:
            letter = rng.randrange(len(LETTERS))
            text = " ".join(rng.sample([LETTERS[letter], *rng.choices(words, k=4)], 5))
            if text in taken:
                continue
            taken.add(text)
            queries.append(Query(f"q{len(queries)}", text))
            judged[queries[-1].id] = {COLOURS[(letter + shift) % len(COLOURS)]: 1}
        qrels[part] = judged
    write_beir(folder, documents, queries, qrels)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("bed")
    for name, (words, shift) in SEEN.items():
        write_domain(data / "beir" / name, words, shift, PARTS)
    for name, (words, shift) in UNSEEN.items():
        write_domain(data / "beir" / name, words, shift, {"test": 32})
    return data


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    return Backbone.load(folder, device="cpu", dtype="fp32", attention="eager")


def test_the_whole_experiment_and_going_on_with_it(
    bed: Path, backbone: Backbone, tmp_path: Path
) -> None:
    seen, unseen = list(SEEN), list(UNSEEN)
    shown: list[str] = []
    draw = tmp_path / "pictures" / "tiny"
    draw.parent.mkdir()
    report = run(bed, backbone, tmp_path, recipe=QUICK, seen=seen, unseen=unseen, draw=draw)
    macro = report.details["macro"]
    assert isinstance(macro, dict)
    # The experts are worth having, and the bounds are bounds.
    assert macro["DatasetOracle"]["seen"] > macro["base"]["seen"] + 0.2
    assert macro["InstanceOracle"]["seen"] >= macro["DatasetOracle"]["seen"]
    assert macro["familiarity mixture"]["seen"] > macro["base"]["seen"] + 0.1
    assert macro["base"]["seen"] > macro["random expert (expected)"]["seen"] - 1
    titles = [table.title for table in report.tables]
    assert len(titles) == len(set(titles))
    names = [row[0] for row in report.tables[0].rows]
    for expected in (
        "base",
        "one multi-task adapter",
        "pilots, mean, k = 1",
        "pilots, max, k = 10",
        "pilots without the base",
        "ClassificationHeadRouter",
        "ExpertClassifierRouter",
        "DatasetRouter",
        "one centroid a domain",
        "InstanceOracle",
        "familiarity mixture, whitened *",
    ):
        assert expected in names

    spent = {row[0]: row[-1] for row in report.tables[0].rows}
    one, two = spent["base"], spent["pilots, mean, k = 1"]
    assert isinstance(one, float)
    assert isinstance(two, float)
    assert 0 < one < two
    assert spent["InstanceOracle"] is None
    tables = {table.title: table for table in report.tables}
    assert {path.name for path in draw.parent.iterdir()} == {
        f"tiny-{name}.svg" for name in ("map", "heat", "growth")
    }
    # The second seed's experts learn the same, so most of what the oracle gains is real.
    assert tables["Two seeds: nDCG@10 × 100"].rows
    hybrid = {
        str(row[0]): row[2] for row in tables["The same in hybrid search, fused with BM25"].rows
    }
    # No query shares a word with the document that it wants more than with the others.
    assert float(hybrid["familiarity mixture"]) > float(hybrid["BM25 alone"]) + 0.1  # type: ignore[arg-type]
    growth = tables["Experts added one by one"]
    assert len(growth.rows) == 2 * 3 * 2
    at = {(row[0], row[1], row[2]): float(row[3]) for row in growth.rows}  # type: ignore[arg-type]
    oracle = "DatasetOracle"
    assert at[2, oracle, "seen"] > at[1, oracle, "seen"] > macro["base"]["seen"]
    assert at[2, oracle, "seen"] == pytest.approx(macro[oracle]["seen"])

    def listen(label: str, done: int, total: int) -> None:
        shown.append(label)

    again = run(bed, backbone, tmp_path, recipe=QUICK, seen=seen, unseen=unseen, show=listen)
    assert [_untimed(table) for table in again.tables] == [_untimed(t) for t in report.tables]
    assert not any("training" in label or "encoding" in label for label in shown)


def _untimed(table: Table) -> list[list[Cell]]:
    """A table's rows without the column that the clock wrote."""
    kept = [i for i, each in enumerate(table.columns) if "ms a query" not in str(each)]
    return [[row[i] for i in kept] for row in table.rows]


def test_another_recipe_is_trained_anew(bed: Path, backbone: Backbone, tmp_path: Path) -> None:
    quick = replace(QUICK, plan=replace(QUICK.plan, epochs=1))
    run(bed, backbone, tmp_path, recipe=quick, seen=["first"], unseen=[], studies=False)
    before = set((tmp_path / "experts").iterdir())
    hot = replace(quick, temperature=0.1)
    run(bed, backbone, tmp_path, recipe=hot, seen=["first"], unseen=[], studies=False)
    assert len(set((tmp_path / "experts").iterdir()) - before) >= 3


def test_what_is_not_there_is_named(bed: Path, backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no beir/ninth in it"):
        run(bed, backbone, tmp_path, recipe=QUICK, seen=["ninth"], unseen=[])


def test_a_query_that_stands_in_a_later_part_is_dropped_from_the_earlier(
    backbone: Backbone, tmp_path: Path
) -> None:
    folder = tmp_path / "beir" / "mixed"
    texts = ["alpha is here", "beta", "gamma", "Alpha is here!", "beta?", "delta"]
    queries = [Query(str(i), text) for i, text in enumerate(texts)]
    split = {"train": "012", "dev": "45", "test": "3"}
    qrels = {part: {id: {"red": 1} for id in ids} for part, ids in split.items()}
    write_beir(folder, [Document("red", "the colour red")], queries, qrels)
    found = load_set(folder, backbone, ArrayCache(tmp_path / "vectors"), silent)
    assert {part: [query.text for query in each] for part, each in found.parts.items()} == {
        "train": ["gamma"],
        "dev": ["beta?", "delta"],
        "test": ["Alpha is here!"],
    }
    assert found.dropped == 2


def test_one_pool_holds_everything_and_judges_alike(
    bed: Path, backbone: Backbone, tmp_path: Path
) -> None:
    cache = ArrayCache(tmp_path)
    sets = [load_set(bed / "beir" / name, backbone, cache, silent) for name in SEEN]
    together = pooled(sets)
    assert [len(each.documents) for each in together] == [16, 16]
    query, moved = sets[1].parts["test"][0], together[1].parts["test"][0]
    (colour,) = query.relevant
    assert (moved.text, dict(moved.relevant)) == (query.text, {f"second/{colour}": 1})


def view(vectors: np.ndarray, set: str = "one") -> View:
    documents = Documents(("a", "b"), np.eye(2, dtype=np.float32))
    judged = [Judged(str(i), "?", {"a": 1}) for i in range(len(vectors))]
    vectors = vectors.astype(np.float32)
    return View(set, documents, judged, vectors, np.ascontiguousarray(vectors[:, 0]))


def known() -> Known:
    """Two queries; the base finds a document first for the first, expert "one" for both."""
    vectors = np.array([[[1, 0], [1, 0.1], [0, 1]], [[0, 1], [1, 0], [0, 1]]])
    moments = Domain.of(np.eye(2, dtype=np.float32))
    views = {"one": view(vectors), "two": view(vectors, "two")}
    return Known(("one", "two"), views, views, {"one": moments, "two": moments})


def test_bounds_by_hand() -> None:
    second = 1 / np.log2(3)
    rows = {row.name: row.scores(known().train["one"]) for row in controls(known())}
    assert rows["base"].tolist() == [1.0, pytest.approx(second)]
    assert rows["DatasetOracle"].tolist() == [1.0, 1.0]
    assert rows["InstanceOracle"].tolist() == [1.0, 1.0]
    assert rows["best single on dev (one)"].tolist() == [1.0, 1.0]
    assert rows["random expert (expected)"] == pytest.approx(
        [(2 + second) / 3, (1 + 2 * second) / 3]
    )


def test_words_and_vectors_together_by_hand() -> None:
    found = known().train["one"]
    # For the first query words find only "b"; for the second they find nothing.
    words = Keywords(np.array([[1], [-1]]), np.array([[3.0], [-1.0]]))
    assert words.alone(found.documents, found.judged).tolist() == [0.0, 0.0]
    second = 1 / np.log2(3)
    # Both sides give the first query's documents 0.5 each, and equals are ordered by their ids.
    assert words.hybrid(found.documents, found.judged, found.base).tolist() == [
        1.0,
        pytest.approx(second),
    ]
    assert words.hybrid(
        found.documents, found.judged, found.vectors[:, 2]
    ).tolist() == pytest.approx([second, second])


def test_what_training_asked_for_by_hand() -> None:
    asked = [Judged("t", "?", {"b": 1})]
    everything = asked_before({"one": known().train["one"]}, {"one": asked}, known())
    (row,) = everything.rows
    # Both test queries want "a", which training never asked for.
    assert row[:4] == ["one", 0, None, None]
    assert row[4:] == [2, pytest.approx((1 + 1 / np.log2(3)) / 2), 1.0]


def test_fewer_experts_are_worth_what_they_were() -> None:
    looked = known().train["one"]
    scores = looked.utilities
    afresh = view(looked.vectors[:, [0, 2]])
    assert looked.only([0, 2]).utilities.tolist() == scores[:, [0, 2]].tolist()
    assert afresh.utilities == pytest.approx(scores[:, [0, 2]])


def test_leaving_a_domain_out_takes_its_expert_from_everywhere() -> None:
    without = leave_one_out(known(), "one")
    assert without.names == ("base", "two")
    assert list(without.domains) == ["two"]
    assert without.train["one"].vectors.shape == (2, 2, 2)
    assert without.train["one"].vectors[:, 1].tolist() == [[0, 1], [0, 1]]
