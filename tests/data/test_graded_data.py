"""On the test bed: the graded pairs, their parts, and what no relevance table may use."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from pointsman.data.beir import judged_queries, splits
from pointsman.data.graded import GradedPair, Pair, Parts
from pointsman.data.splits import overlap
from pointsman.data.testbed import (
    CROWDFLOWER,
    HOMEDEPOT,
    HOMEDEPOT_LEVELS,
    NO_RELEVANCE_EXPERTS,
    RETRIEVAL_SETS,
    crowdflower_pairs,
    homedepot_parts,
)

pytestmark = pytest.mark.data

homedepot = cache(homedepot_parts)


def held_out(parts: Parts) -> list[str]:
    return [pair.query for part in (parts.id_dev, parts.id_test, parts.ood_test) for pair in part]


def test_home_depots_parts(data_dir: Path) -> None:
    parts = homedepot(data_dir)
    sizes: dict[str, tuple[Pair, ...]] = {
        "train": parts.train,
        "pool": parts.pool.pairs,
        "id_dev": parts.id_dev,
        "id_test": parts.id_test,
        "ood_test": parts.ood_test,
    }
    # One training query differs from a tested one by no letter, and is left out with its pairs.
    assert {part: len({pair.query for pair in pairs}) for part, pairs in sizes.items()} == {
        "train": 3291,
        "pool": 4260,
        "id_dev": 868,
        "id_test": 1620,
        "ood_test": 1753,
    }
    assert {part: len(pairs) for part, pairs in sizes.items()} == {
        "train": 20_977,
        "pool": 26_760,
        "id_dev": 5298,
        "id_test": 10_457,
        "ood_test": 10_568,
    }
    assert len(parts.left_out) == 1
    assert (parts.without_pairs, parts.without_part) == (0, 0)


def test_no_query_stands_in_two_parts(data_dir: Path) -> None:
    parts = homedepot(data_dir)
    chosen_from = [pair.query for pair in parts.pool.pairs]
    trained = [pair.query for pair in parts.train]
    assert not overlap(trained, chosen_from)
    assert not overlap(trained + chosen_from, held_out(parts))
    assert not overlap((pair.query for pair in parts.id_test), (p.query for p in parts.ood_test))


def test_every_grade_occurs_in_every_part(data_dir: Path) -> None:
    parts = homedepot(data_dir)
    for pairs in (parts.train, parts.id_dev, parts.id_test, parts.ood_test):
        assert set(HOMEDEPOT.grades(pairs).tolist()) == {0, 1, 2}
        assert set(HOMEDEPOT_LEVELS.grades(pairs).tolist()) == set(range(7))


def test_home_depots_grades_over_the_whole_file(data_dir: Path) -> None:
    parts = homedepot(data_dir)
    # All of the pool at once is what no method may do; a count may.
    looked_up = parts.pool.look_up(range(len(parts.pool)))
    everything = [*parts.train, *looked_up, *parts.id_dev, *parts.id_test, *parts.ood_test]
    levels = {1: "score 1", 1.33: "score 1.33", 1.67: "score 1.67", 2: "score 2"}
    levels |= {2.33: "score 2.33", 2.67: "score 2.67", 3: "score 3"}
    between = 0
    for pair in everything:
        level = HOMEDEPOT_LEVELS.names[HOMEDEPOT_LEVELS.grade(pair.score)]
        if pair.score in levels:
            assert level == levels[pair.score]
        else:
            between += 1
    assert between == 59
    assert Counter(HOMEDEPOT.grades(everything).tolist())[2] == 34_333


def test_crowdflower(data_dir: Path) -> None:
    pairs: list[GradedPair] = crowdflower_pairs(data_dir)
    assert len(pairs) == 10_158
    assert len({pair.query for pair in pairs}) == 261
    # 61 in a hundred are strong: whoever always says so is right that often
    assert Counter(CROWDFLOWER.grades(pairs).tolist()) == {0: 774, 1: 3213, 2: 6171}
    assert all(pair.variance is not None for pair in pairs)


def test_whose_training_queries_are_tested_for_relevance_is_in_no_relevance_table(
    data_dir: Path,
) -> None:
    tested = held_out(homedepot(data_dir)) + [pair.query for pair in crowdflower_pairs(data_dir)]
    shared = {}
    for name in RETRIEVAL_SETS:
        for part in {"train", "dev"} & set(splits(data_dir / "beir" / name)):
            queries, _ = judged_queries(data_dir / "beir" / name, part)
            if both := overlap((query.text for query in queries), tested):
                shared[name, part] = len(both)
    assert {name for name, _ in shared} == set(NO_RELEVANCE_EXPERTS)
    # The set is left as it is: it is the tables that leave its experts out.
    assert shared["homedepot", "train"] > 3000
