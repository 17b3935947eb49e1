from __future__ import annotations

from dataclasses import replace
from math import log2, sqrt
from pathlib import Path

import numpy as np
import pytest

from domains import QUICK, make_sets
from pointsman.backbone.encoder import Backbone
from pointsman.collection.judged import Documents, Judged
from pointsman.data.arrays import ArrayCache
from pointsman.errors import ConfigError
from pointsman.evaluate.significance import Interval
from pointsman.evaluate.tables import Cell
from pointsman.experiments.report import silent
from pointsman.experiments.routing.seeds import (
    chosen_by,
    correlation,
    second_seed,
    seeds,
    seeds_table,
)
from pointsman.experiments.routing.trained_bed import Bed, trained_bed
from pointsman.experiments.routing.views import View
from tiny import write_tiny

SECOND = 1 / log2(3)  # nDCG of the one relevant document in second place; in third it is a half
# Query vectors that find document "a" first, second and third.
RANKED = {1.0: [1.0, 0.0, 0.0], SECOND: [0.5, 1.0, 0.0], 0.5: [0.1, 1.0, 0.5]}
NAMES = ("set", "own", "all", "base", "dataset", "instance", "other", "kept", "share")


def view(utilities: list[list[float]], set: str = "one") -> View:
    """A view whose queries have these utilities."""
    vectors = np.array([[RANKED[each] for each in row] for row in utilities], dtype=np.float32)
    return of(vectors, set)


def of(vectors: np.ndarray, set: str = "one") -> View:
    documents = Documents(("a", "b", "c"), np.eye(3, dtype=np.float32))
    judged = [Judged(str(i), "?", {"a": 1}) for i in range(len(vectors))]
    return View(set, documents, judged, vectors, np.ascontiguousarray(vectors[:, 0]))


FIRST = [[SECOND, 1.0, SECOND], [1.0, SECOND, SECOND], [SECOND, SECOND, 1.0]]
OTHER = [[SECOND, 1.0, SECOND], [1.0, 1.0, SECOND], [SECOND, SECOND, 0.5]]


def row(line: object) -> dict[str, Cell]:
    return dict(zip(NAMES, line, strict=True))  # type: ignore[call-overload, no-any-return]


def test_the_other_seed_chooses_by_hand() -> None:
    first, other = np.array(FIRST), np.array(OTHER)
    # By the first seed: expert 1, base, expert 2. By the other: expert 1, and the base where it ties.
    assert chosen_by(first, other).tolist() == [1.0, 1.0, 0.5]
    assert chosen_by(other, first).tolist() == [1.0, 1.0, SECOND]
    assert chosen_by(first, first).tolist() == [1.0, 1.0, 1.0]


def test_a_row_by_hand() -> None:
    table = seeds_table({"one": view(FIRST)}, {"one": view(OTHER)}, ("one", "two"), ["one"], [])
    found = row(table.rows[0])
    # Own gains d, -d, 0 and d, 0, 0.
    assert found["own"] == pytest.approx(sqrt(3) / 2)
    one = (1 + 2 * SECOND) / 3  # every expert's mean by the first seed
    assert found["base"] == pytest.approx(one)
    assert found["dataset"] == pytest.approx(one)
    assert found["instance"] == pytest.approx(1.0)
    assert found["other"] == pytest.approx(((2 + SECOND) / 3 + 2.5 / 3) / 2)
    # By the other seed expert "one" is the best of the set, and the oracle's best is 1, 1, SECOND.
    dataset = (one + (2 + SECOND) / 3) / 2
    kept, lead = found["other"] - dataset, (1 + (2 + SECOND) / 3) / 2 - dataset  # type: ignore[operator]
    assert isinstance(found["kept"], Interval)
    assert found["kept"].mean == pytest.approx(kept)
    assert found["share"] == pytest.approx(kept / lead)
    # One seen set is all seen sets.
    assert row(table.rows[1]) == {**found, "set": "all seen"}


def test_the_same_seed_twice_keeps_the_whole_lead() -> None:
    table = seeds_table({"one": view(FIRST)}, {"one": view(FIRST)}, ("one", "two"), ["one"], [])
    found = row(table.rows[0])
    assert found["own"] == pytest.approx(1.0)
    assert found["all"] == pytest.approx(1.0)
    assert found["other"] == found["instance"]
    assert found["share"] == pytest.approx(1.0)


def test_experts_of_nothing_but_noise_have_no_lead_that_comes_back() -> None:
    rng = np.random.default_rng(0)
    both = [of(rng.normal(size=(600, 6, 3)).astype(np.float32)) for _ in range(2)]
    table = seeds_table({"one": both[0]}, {"one": both[1]}, list("abcde"), [], ["one"])
    found = row(table.rows[0])
    assert found["own"] is None  # no expert is the set's own
    assert found["instance"] > found["dataset"] + 0.15  # type: ignore[operator]
    assert isinstance(found["kept"], Interval)
    assert found["kept"].mean < 0.02
    assert abs(found["share"]) < 0.15  # type: ignore[arg-type]


def test_macro_rows_weigh_sets_alike() -> None:
    same = [[0.5, 1.0, 1.0]]
    first = {"one": view(FIRST), "two": view(same, "two")}
    second = {"one": view(OTHER), "two": view(same, "two")}
    rows = seeds_table(first, second, ("one", "two"), ["one", "two"], []).rows
    one, two, both = (row(line) for line in rows)
    assert two["own"] is None  # a single query correlates with nothing
    assert both["own"] == one["own"]
    assert both["other"] == pytest.approx((one["other"] + two["other"]) / 2)  # type: ignore[operator]


def test_correlation_of_a_constant_is_unknown() -> None:
    assert np.isnan(correlation(np.array([0.3, 0.3]), np.array([0.0, 1.0])))
    assert correlation(np.array([0.0, 1.0, 2.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    return Backbone.load(folder, device="cpu", dtype="fp32", attention="eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experts")


@pytest.fixture(scope="module")
def bed(backbone: Backbone, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bed:
    cache = ArrayCache(tmp_path_factory.mktemp("vectors"))
    seen = ["first", "second"]
    return trained_bed(make_sets(backbone), seen, backbone, cache, QUICK, folder, silent)


def test_the_study_and_going_on_with_it(bed: Bed, folder: Path) -> None:
    shown: list[str] = []

    def listen(label: str, done: int, total: int) -> None:
        shown.append(label)

    def study() -> list[object]:
        return list(seeds(bed, QUICK, folder, listen, seed=1).rows)

    rows = study()
    assert shown
    first = row(rows[0])
    assert first["base"] == pytest.approx(bed.test["first"].utilities[:, 0].mean())
    assert first["own"] > 0.2  # type: ignore[operator]  # trained twice for the same, they gain alike
    assert [row(line)["set"] for line in rows] == [
        "first",
        "second",
        "third",
        "all seen",
        "all unseen",
    ]
    shown.clear()
    assert study() == rows
    assert shown == []
    # Dev chose among the kinds of negatives once, with the first seed.
    either = replace(QUICK, negatives=("all", "judged"))
    again = second_seed(bed, either, folder, listen, 1)
    assert shown == []
    assert {each.digest for each in again.values()}.isdisjoint(
        each.whole.digest for each in bed.trained.values()
    )


def test_the_second_seed_is_another_one(bed: Bed, tmp_path: Path) -> None:
    recipe = replace(QUICK, plan=replace(QUICK.plan, seed=3))
    with pytest.raises(ConfigError, match="another one than 3"):
        second_seed(bed, recipe, tmp_path, silent, 3)
