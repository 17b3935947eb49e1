from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.collection.judged import Documents, Judged, judged_queries, qrels_of
from pointsman.errors import InputError
from pointsman.evaluate.retrieval import evaluate_run
from pointsman.route.utility import two_folds, utilities
from pointsman.types import Query


def unit(*rows: list[float]) -> np.ndarray:
    array = np.array(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


DOCUMENTS = Documents(("a", "b", "c"), unit([1, 0], [0, 1], [1, 1]))


def test_the_nearest_come_first_and_at_most_all() -> None:
    queries = unit([1, 0.1], [0, 1])
    assert DOCUMENTS.nearest(queries, 2).tolist() == [[0, 2], [1, 2]]
    assert DOCUMENTS.nearest(queries, 9).shape == (2, 3)


@given(st.integers(1, 40), st.integers(1, 12))
def test_nearest_is_a_sort(n: int, k: int) -> None:
    generator = np.random.default_rng(n * 100 + k)
    vectors = generator.normal(size=(n, 4)).astype(np.float32)
    queries = generator.normal(size=(3, 4)).astype(np.float32)
    found = Documents(tuple(map(str, range(n))), vectors).nearest(queries, k)
    scores = np.take_along_axis(queries @ vectors.T, found, axis=1)
    expected = -np.sort(-(queries @ vectors.T), axis=1)[:, :k]
    assert scores == pytest.approx(expected, abs=1e-5)


def test_utilities_by_hand() -> None:
    """One query, one relevant document: found first by one expert, second by the other."""
    judged = [Judged("q", "?", {"a": 1})]
    found = utilities(DOCUMENTS, judged, [unit([1, 0.1]), unit([1, 1])])
    assert found.tolist() == [[1.0, pytest.approx(1 / np.log2(3))]]


def test_utilities_keep_the_order_of_the_queries() -> None:
    judged = [Judged("z", "?", {"b": 1}), Judged("a", "?", {"a": 1})]
    found = utilities(DOCUMENTS, judged, [unit([1, 0.1], [1, 0.1])])
    assert found[1, 0] == 1.0
    assert found[0, 0] < 1.0


def test_a_run_is_what_evaluation_takes() -> None:
    judged = [Judged("q", "?", {"c": 2, "a": 1})]
    scores = evaluate_run(qrels_of(judged), DOCUMENTS.run(judged, unit([1, 1])), ["nDCG@10"])
    # c, then a and b at the same similarity: a comes second or third.
    ideal = 2 + 1 / np.log2(3)
    assert scores.mean("nDCG@10") in (
        pytest.approx(1.0),
        pytest.approx((2 + 1 / np.log2(4)) / ideal),
    )


def test_folds_are_halves_and_depend_on_the_seed_alone() -> None:
    folds = two_folds(101, seed=4)
    assert sorted(np.bincount(folds).tolist()) == [50, 51]
    assert folds.tolist() == two_folds(101, seed=4).tolist()
    assert folds.tolist() != two_folds(101, seed=5).tolist()


def test_judgements_of_grade_nought_are_not_relevant() -> None:
    queries = [Query("1", "one"), Query("2", "two"), Query("3", "three")]
    judged = judged_queries(queries, {"1": {"a": 0, "b": 2}, "2": {"a": 0}}, DOCUMENTS)
    assert [(query.id, dict(query.relevant)) for query in judged] == [("1", {"b": 2})]


def test_unknown_ids_are_named() -> None:
    queries = [Query("1", "one")]
    with pytest.raises(InputError, match="document 'x', which is not in the collection"):
        judged_queries(queries, {"1": {"x": 1}}, DOCUMENTS)
    with pytest.raises(InputError, match="1 judged queries are unknown, such as '9'"):
        judged_queries(queries, {"9": {"a": 1}}, DOCUMENTS)


def test_the_digest_is_of_ids_and_vectors_and_computed_once() -> None:
    vectors = unit([1, 0], [0, 1])
    documents = Documents(("a", "b"), vectors)
    assert documents.digest() == hashlib.sha256(b"a\nb" + vectors.tobytes()).hexdigest()
    assert documents.digest() is documents.digest()
    # The same numbers from another layout of memory are the same documents.
    assert Documents(("a", "b"), np.asfortranarray(vectors)).digest() == documents.digest()
    assert Documents(("a", "c"), vectors).digest() != documents.digest()
    assert Documents(("a", "b"), vectors[::-1]).digest() != documents.digest()


def test_as_many_vectors_as_documents() -> None:
    with pytest.raises(InputError, match="2 documents but 1 vectors"):
        Documents(("a", "b"), unit([1, 0]))
