from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from domains import QUICK, make_queries, make_sets
from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.experiments.report import silent
from pointsman.experiments.routing.sizes import (
    OWN,
    SEEN,
    UNSEEN,
    Sized,
    nested,
    size_curves,
    sized,
    sizes_table,
    training_sizes,
)
from pointsman.experiments.routing.trained_bed import Bed, trained_bed
from tiny import write_tiny


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


def test_subsets_lie_within_each_other_and_the_last_is_all() -> None:
    queries = make_queries(50)
    subsets = nested(queries, (30, 10, 100, 50), seed=1)
    assert [len(subset) for subset in subsets] == [10, 30, 50]
    for smaller, larger in pairwise(subsets):
        ids = [query.id for query in larger]
        places = [ids.index(query.id) for query in smaller]  # all are there
        assert places == sorted(places)
    assert subsets[-1] == queries
    assert nested(queries, (10,), seed=1)[0] == subsets[0]
    assert nested(queries, (10,), seed=2)[0] != subsets[0]


def test_means_and_gains_by_hand() -> None:
    base = {name: np.array([0.0, 0.5]) for name in ("one", "two", "three", "four")}
    scores = {**base, "one": np.array([1.0, 0.5]), "three": np.array([0.0, 0.0])}
    found = sized("one", 10, scores, base, ["one", "two", "three"], ["four"])
    # two: 0.25; three: 0.
    assert found.means == pytest.approx({OWN: 0.75, SEEN: 0.125, UNSEEN: 0.25})
    assert {part: gain.mean for part, gain in found.gains.items()} == pytest.approx(
        {OWN: 0.5, SEEN: -0.125, UNSEEN: 0.0}
    )
    assert found.gains[OWN].low < 0.5 < found.gains[OWN].high
    alone = sized("one", 10, scores, base, ["one"], [])
    assert list(alone.means) == [OWN]
    assert sizes_table([alone]).rows[0][3:5] == [None, None]
    of_base = sized("one", 0, base, base, ["one", "two", "three"], ["four"])
    assert [list(lines["one"]) for lines in size_curves([of_base, found]).values()] == [[10]] * 3
    assert size_curves([of_base, found])[SEEN]["one"][10][0] == pytest.approx(-0.125)


def test_the_study_and_going_on_with_it(bed: Bed, folder: Path) -> None:
    shown: list[str] = []

    def listen(label: str, done: int, total: int) -> None:
        shown.append(label)

    def study() -> list[Sized]:
        return training_sizes(bed, QUICK, folder, listen, names=["first"], sizes=(8, 32))

    found = study()
    table = sizes_table(found)
    assert [row[1] for row in table.rows] == [0, 8, 32, 64]
    own = [float(row[2]) for row in table.rows]  # type: ignore[arg-type]
    assert own[0] == pytest.approx(bed.test["first"].utilities[:, 0].mean())
    assert own[3] > own[0] + 0.2
    assert own[3] > own[1]
    # The other domains pair words their own way: what helps here harms there.
    assert float(table.rows[3][3]) < own[3] - 0.2  # type: ignore[arg-type]
    # The expert of all queries is the bed's own.
    assert {label.rpartition(", ")[2] for label in shown} == {"8 queries", "32 queries"}
    own_view = bed.test["first"].utilities[:, 1 + bed.views.experts.index("first")]
    assert own[3] == pytest.approx(own_view.mean())

    shown.clear()
    assert study() == found
    assert shown == []


def test_a_batch_is_no_larger_than_the_training_set(bed: Bed, tmp_path: Path) -> None:
    wide = replace(QUICK, batch_size=32, plan=replace(QUICK.plan, epochs=1))
    found = training_sizes(bed, wide, tmp_path, silent, names=["first"], sizes=(8,))
    assert [each.queries for each in found] == [0, 8, 64]
