from __future__ import annotations

import numpy as np

from pointsman.collection.judged import Documents, Judged
from pointsman.grade.mining import GRADES, found_pairs, mined_pairs
from pointsman.grade.recipe import joined
from pointsman.types import Passage


def line(n: int) -> tuple[list[Passage], Documents]:
    """Documents on a quarter circle: neighbours in number are neighbours in meaning."""
    angles = np.linspace(0, np.pi / 2, n)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    passages = [Passage(id=f"d{i}", text=f"text {i}") for i in range(n)]
    return passages, Documents(tuple(each.id for each in passages), vectors)


def test_degrees_of_negatives() -> None:
    passages, documents = line(400)
    judged = [Judged("q0", "first", {"d0": 1}), Judged("q1", "second", {"d1": 2, "d2": 1})]
    found = mined_pairs(judged, documents.vectors[:2], passages, documents)
    by_grade: dict[tuple[str, int], list[int]] = {}
    for (query, text), label in zip(found.pairs, found.labels.tolist(), strict=True):
        by_grade.setdefault((query, label), []).append(int(text.split()[1]))
    assert by_grade["first", 2] == [0]
    assert set(by_grade["second", 2]) < {1, 2}
    for query, own in (("first", {0}), ("second", {1, 2})):
        related = by_grade[query, 1]
        assert len(related) == len(set(related)) == 2
        assert all(i < 14 for i in related)
        assert not set(related) & own
        far = by_grade[query, 0]
        assert len(far) <= 2
        assert all(i >= 50 for i in far)
    assert found.targets.argmax(dim=1).tolist() == found.labels.tolist()
    assert found.targets.shape == (len(found.pairs), len(GRADES))


def test_found_pairs_are_what_a_search_finds() -> None:
    passages, documents = line(400)
    judged = [Judged("q0", "first", {"d0": 1, "d3": 1}), Judged("q9", "far off", {"d300": 1})]
    found = found_pairs(judged, documents.vectors[:2], passages, documents, depth=5)
    rows = [(q, int(text.split()[1])) for q, text in found.pairs]
    by_label = [
        [
            row
            for (q, row), label in zip(rows, found.labels, strict=True)
            if q == "first" and label == g
        ]
        for g in (0, 1, 2)
    ]
    assert sorted(by_label[2]) == [0, 3]
    assert sorted(by_label[1]) == [1, 2, 4]
    assert all(row > 4 for row in by_label[0])
    # What is judged and not found is not there.
    assert not any(row == 300 for _, row in rows)
    assert [
        label for (q, _), label in zip(rows, found.labels, strict=True) if q == "far off"
    ].count(2) == 0


def test_a_small_collection_has_nothing_far() -> None:
    passages, documents = line(4)
    found = mined_pairs([Judged("q", "all", {"d0": 1})], documents.vectors[:1], passages, documents)
    assert sorted(found.labels.tolist()) == [1, 1, 2]


def test_the_same_seed_mines_the_same() -> None:
    passages, documents = line(300)
    judged = [Judged(f"q{i}", f"query {i}", {f"d{i}": 1}) for i in range(20)]

    def mined(seed: int) -> list[tuple[str, str]]:
        return list(
            mined_pairs(judged, documents.vectors[:20], passages, documents, seed=seed).pairs
        )

    assert mined(0) == mined(0) != mined(1)
    one = mined_pairs(judged[:5], documents.vectors[:5], passages, documents)
    both = joined([one, one])
    assert len(both.pairs) == 2 * len(one.pairs) == len(both.labels) == len(both.targets)
