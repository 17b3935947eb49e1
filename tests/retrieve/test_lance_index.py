from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import lancedb
import numpy as np
import pytest

from pointsman.deadline import Deadline
from pointsman.errors import (
    BackboneMismatchError,
    DeadlineError,
    InputError,
    WorkspaceError,
)
from pointsman.protocols import Index
from pointsman.retrieve.fusion import Fusion, reciprocal_rank_fusion, weighted_score_fusion
from pointsman.retrieve.lance import LanceIndex
from pointsman.retrieve.manifest import FullText
from pointsman.types import BackboneIdentity, FloatArray, Hit, Passage

Unit = Callable[..., FloatArray]
Numbered = Callable[..., list[Passage]]


def ids(hits: list[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]


def scores(index: LanceIndex, text: str) -> dict[str, float]:
    return {hit.passage.id: hit.score for hit in index.search(None, 50, [text])[0]}


# What is stored comes back


def test_is_an_index_and_keeps_passages_whole(index: LanceIndex, unit: Unit) -> None:
    assert isinstance(index, Index)
    passages = [
        Passage("b", "text", "title", "doc", 3, 7, {"n": 1, "x": 0.5, "t": True, "s": "it's"}),
        Passage("a", "naïve 日本 😀\nline\t'quoted'"),
    ]
    index.add(passages, unit(2))
    assert index.ids() == ["a", "b"]
    assert index.get(["b", "a", "b"]) == [passages[0], passages[1], passages[0]]
    with pytest.raises(InputError, match=r"not in the index .*: ids 'x', 'y', 'z' and 1 more"):
        index.get(["a", "x", "y", "z", "w"])


def test_unsafe_text_is_scrubbed_in_place(index: LanceIndex, unit: Unit) -> None:
    index.add(
        [Passage("i\ud800d", "a\x00b \udfff c", "t\x1b", metadata={"k\x01": "v\ud801"})], unit(1)
    )
    (stored,) = index.get(["i\ud800d"])
    assert stored.text == "a\ufffdb \ufffd c"
    assert (stored.id, stored.title) == ("i\ufffdd", "t\ufffd")
    assert ids(index.search(unit(1), 1, ["\ud800 c"], {"k\x01": "v\ud801"})[0]) == [stored.id]
    assert index.delete(["i\ud800d"]) == 1


def test_upsert_replaces_and_delete_counts(
    index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    index.add(numbered(6), unit(6))
    vectors = unit(3, seed=1)
    index.upsert([Passage("p001", "zebra"), Passage("new", "zebra"), Passage("p000", "x")], vectors)
    assert index.ids() == ["new", "p000", "p001", "p002", "p003", "p004", "p005"]
    assert ids(index.search(vectors[:1], 1)[0]) == ["p001"]
    assert set(scores(index, "zebra")) == {"p001", "new"}
    assert set(scores(index, "number1")) == set()
    assert index.delete(["p001", "nowhere", "p001", "p002"]) == 2
    assert index.delete([]) == 0
    assert set(scores(index, "zebra")) == {"new"}
    assert len(index) == 5


# Searching


def test_dense_equals_brute_force(index: LanceIndex, unit: Unit, numbered: Numbered) -> None:
    passages, vectors, queries = numbered(200), unit(200), unit(20, seed=1)
    with index.writing():
        for first in range(0, 200, 70):
            index.add(passages[first : first + 70], vectors[first : first + 70])
    cosines = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    for row, hits in zip(cosines, index.search(queries * 3, 7), strict=True):
        order = np.argsort(-row)[:7]
        assert ids(hits) == [passages[i].id for i in order]
        np.testing.assert_allclose([hit.score for hit in hits], row[order], atol=1e-6)
    assert len(index.search(queries, 1000)[3]) == 200


def test_all_vectors_come_by_id_with_the_version_they_are_of(
    index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    passages, vectors = numbered(5), unit(5, seed=1)
    order = [3, 0, 4, 1, 2]
    index.add([passages[i] for i in order], vectors[order])
    version, found = index.vectors()
    by_id = np.argsort([passage.id for passage in passages])
    assert found == pytest.approx(vectors[by_id], abs=1e-6)
    assert index.vectors()[0] == version
    index.delete([passages[0].id])
    after, fewer = index.vectors()
    assert after > version
    assert len(fewer) == 4


def test_vectors_of_some_ids_come_by_id_and_of_those_that_are_there_alone(
    index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    passages, vectors = numbered(5), unit(5, seed=1)
    index.add(passages, vectors)
    found = index.of_ids([passages[3].id, "nobody", passages[1].id, passages[3].id])
    assert set(found) == {passages[1].id, passages[3].id}
    assert found[passages[3].id] == pytest.approx(vectors[3], abs=1e-6)
    assert index.of_ids([]) == {}


def test_equal_scores_come_by_id(index: LanceIndex, unit: Unit) -> None:
    names = [f"{i:03d}" for i in range(150)]
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    index.add([Passage(name, "same words") for name in shuffled], np.repeat(unit(1), 150, axis=0))
    query = unit(1, seed=3)
    assert ids(index.search(query, 5)[0]) == names[:5]
    assert ids(index.search(None, 5, ["words"])[0]) == names[:5]
    assert ids(index.search(query, 5, ["words"])[0]) == names[:5]


def test_bm25_ranks_like_the_formula(index: LanceIndex, unit: Unit) -> None:
    corpus = {
        "a": "apple apple banana",
        "b": "apple cherry cherry date fig",
        "c": "banana",
        "d": "grape grape grape melon melon melon plum plum",
        "e": "apple grape",
    }
    index.add([Passage(id_, text) for id_, text in corpus.items()], unit(5))
    documents = {id_: text.split() for id_, text in corpus.items()}
    mean = sum(map(len, documents.values())) / len(documents)

    def bm25(query: str) -> dict[str, float]:  # k1 = 1.2, b = 0.75, Lucene's idf
        total = dict.fromkeys(documents, 0.0)
        for term in query.split():
            having = sum(term in words for words in documents.values())
            idf = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            for id_, words in documents.items():
                tf = words.count(term)
                total[id_] += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(words) / mean))
        return {id_: score for id_, score in total.items() if score}

    for query in ("apple", "banana cherry", "grape apple", "plum fig banana apple"):
        assert scores(index, query) == pytest.approx(bm25(query), rel=1e-4)


def test_bm25_after_many_writes_equals_bm25_of_an_index_made_at_once(
    tmp_path: Path, identity: BackboneIdentity, unit: Unit
) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]

    def passage(i: int) -> Passage:
        return Passage(f"{i:03d}", " ".join(rng.choice(words, rng.integers(1, 9))))

    grown = LanceIndex.create(tmp_path / "grown", identity)
    grown.add([passage(i) for i in range(40)], unit(40))
    grown.upsert([passage(i) for i in range(30, 60)], unit(30))
    grown.delete([f"{i:03d}" for i in range(0, 60, 4)])
    with grown.writing():
        grown.add([passage(i) for i in range(100, 105)], unit(5))
        grown.add([passage(i) for i in range(105, 110)], unit(5))
    made = LanceIndex.create(tmp_path / "made", identity)
    made.add(grown.get(grown.ids()), unit(len(grown)))
    for query in ("w0", "w1 w2", "w3 w4 w5 w29", "w7 w7"):
        assert scores(grown, query) == pytest.approx(scores(made, query), rel=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "the of and",
        '"',
        "((",
        "AND",
        "apple AND (",
        "+apple -pear",
        "text:apple",
        "*",
        "a*",
        "~2",
        "^",
        "\\",
        "'",
        "😀",
        "日本語",
        "العربية",
        "\x00",
        "\ud800",
        "[1 TO 2]",
        "NOT",
        "/re/",
        "a" * 3000,
        "apple " * 2000,
    ],
)
def test_a_text_is_never_a_query_language(index: LanceIndex, unit: Unit, text: str) -> None:
    index.upsert([Passage("a", "red apple"), Passage("b", "green pear")], unit(2))
    found = set(scores(index, text))
    # The words count, whatever stands around them.
    assert found == ({"a"} if "apple" in text else set()) | ({"b"} if "pear" in text else set())
    assert ids(index.search(unit(1), 1, [text])[0])  # the dense side still answers


def test_words_are_stemmed_unless_told_otherwise(
    tmp_path: Path, identity: BackboneIdentity, unit: Unit
) -> None:
    plain = FullText(stem=False, remove_stop_words=False)
    for full_text, found in ((FullText(), [1, 0]), (plain, [0, 1])):
        path = tmp_path / str(found)
        LanceIndex.create(path, identity, full_text=full_text).add(
            [Passage("a", "the dog runs")], unit(1)
        )
        again = LanceIndex.open(path)
        assert again.full_text == full_text
        assert [len(hits) for hits in again.search(None, 1, ["running", "the"])] == found


def test_title_is_searched_too(index: LanceIndex, unit: Unit) -> None:
    index.add([Passage("a", "text", title="Heading")], unit(1))
    assert set(scores(index, "heading")) == {"a"}


@pytest.mark.parametrize("method", ["rrf", "weighted"])
def test_hybrid_fuses_a_hundred_of_each_side(
    index: LanceIndex, unit: Unit, numbered: Numbered, method: str
) -> None:
    index.add(numbered(150), unit(150))
    fusion = Fusion(method, dense_weight=0.3)  # type: ignore[arg-type]
    hybrid = LanceIndex.open(index.uri, fusion=fusion)
    queries, texts = unit(3, seed=4), ["number7 apples", "number8", "nothing here"]
    dense, words = index.search(queries, 100), index.search(None, 100, texts)
    for i, hits in enumerate(hybrid.search(queries, 5, texts)):
        sides = [[(h.passage.id, h.score) for h in side] for side in (dense[i], words[i])]
        weights = (0.3, 0.7)
        expected = (
            reciprocal_rank_fusion(sides, weights)
            if method == "rrf"
            else weighted_score_fusion(sides, weights)
        )
        assert [(h.passage.id, pytest.approx(h.score)) for h in hits] == expected[:5]


def test_each_query_says_how_much_vectors_count(
    index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    index.add(numbered(150), unit(150))
    queries, texts = unit(3, seed=4), ["number7 apples", "number8", "number9"]
    shift = np.array([0.5, -0.5, 0.2], dtype=np.float32)
    found = index.search(queries, 5, texts, dense_shift=shift)
    for i, weight in enumerate((1.0, 0.0, 0.7)):
        alone = LanceIndex.open(index.uri, fusion=Fusion(dense_weight=weight))
        expected = alone.search(queries[i : i + 1], 5, texts[i : i + 1])[0]
        assert [hit.passage.id for hit in found[i]] == [hit.passage.id for hit in expected]
    # Beyond what there is to give it stays at the end.
    assert index.search(queries, 5, texts, dense_shift=shift * 9)[0][0] == found[0][0]
    with pytest.raises(InputError, match="3 queries came with a dense_shift of"):
        index.search(queries, 5, texts, dense_shift=shift[:2])


def test_an_empty_index_finds_nothing(index: LanceIndex, unit: Unit) -> None:
    assert len(index) == 0
    assert index.ids() == []
    assert index.search(unit(2), 3, ["a", "b"]) == [[], []]
    assert index.search(unit(2)[:0], 3) == []


def test_a_search_checks_what_it_is_given(index: LanceIndex, unit: Unit) -> None:
    index.add([Passage("a", "x")], unit(1))
    with pytest.raises(InputError, match="k=0"):
        index.search(unit(1), 0)
    with pytest.raises(InputError, match="vectors, text or both"):
        index.search(None, 1)
    with pytest.raises(InputError, match="2 query vectors came with 1 texts"):
        index.search(unit(2), 1, ["a"])
    with pytest.raises(InputError, match="not one string"):
        index.search(unit(1), 1, "a")
    with pytest.raises(InputError, match="have 3 dimensions, but the index has 8"):
        index.search(np.ones((1, 3), np.float32), 1)
    with pytest.raises(InputError, match=r"shape \(8,\)"):
        index.search(unit(1)[0], 1)
    with pytest.raises(InputError, match="query 2 of 2 is all zeros"):
        index.search(np.vstack([unit(1), np.zeros((1, 8), np.float32)]), 1)
    late = Deadline()
    late.cancel()
    for vectors, text in ((unit(1), None), (None, ["x"])):
        with pytest.raises(DeadlineError):
            index.search(vectors, 1, text, deadline=late)


# Bad input: refused before anything is stored


def bad_batches() -> dict[str, tuple[list[Passage], FloatArray, str]]:
    eye = np.eye(8, dtype=np.float32)
    many = [Passage(name, "x") for name in "aabbccdd"]
    nan, inf = eye[:2].copy(), eye[:2].copy()
    nan[1, 3], inf[0, 0] = np.nan, np.inf
    ab = [Passage("a", "x"), Passage("b", "x")]
    return {
        "twice": (many, eye, "more than once in one batch: ids 'a', 'b', 'c' and 1 more"),
        "twice once scrubbed": ([Passage("\ud800", "x"), Passage("\ud801", "x")], eye[:2], "once"),
        "nan": (ab, nan, "passage 2 of 2 holds NaN"),
        "inf": (ab, inf, "passage 1 of 2 holds NaN or infinity"),
        "width": (ab, eye[:2, :5], "have 5 dimensions, but the index has 8"),
        "shape": (ab, eye[0], r"shape \(8,\)"),
        "words": (ab, [["a"], ["b"]], "not an array of numbers"),  # type: ignore[dict-item]
        "count": (ab, eye[:1], "2 passages came with 1 vectors"),
        "none": ([], eye[:1], "0 passages came with 1 vectors"),
        "norm": (ab, eye[:2] * 1.1, "passage 'a' has norm 1.1; vectors must have unit norm"),
        "zero": (ab, eye[:2] * 0, "norm 0"),
        "empty id": ([ab[0], Passage("", "x")], eye[:2], "passage 2 of 2 has an empty id"),
        "metadata": (
            [ab[0], Passage("b", "x", metadata={"k": [1]})],  # type: ignore[dict-item]
            eye[:2],
            "passage 'b': metadata 'k' holds a list",
        ),
    }


@pytest.mark.parametrize("case", bad_batches())
def test_a_bad_batch_is_refused_whole(
    index: LanceIndex, unit: Unit, numbered: Numbered, case: str
) -> None:
    index.add(numbered(3), unit(3))
    passages, vectors, message = bad_batches()[case]
    for write in (index.add, index.upsert):
        with pytest.raises(InputError, match=message):
            write(passages, vectors)
    assert index.get(index.ids()) == numbered(3)


def test_add_refuses_what_is_there(index: LanceIndex, unit: Unit, numbered: Numbered) -> None:
    index.add(numbered(5), unit(5))
    with pytest.raises(InputError, match="already in the index: ids 'p003', 'p004'; upsert"):
        index.add(numbered(5, first=3), unit(5))
    assert len(index) == 5
    index.add([], unit(0))
    index.upsert([], np.zeros((0, 3), np.float32))
    assert len(index) == 5


# What the index knows about itself, and what happens to it on disk


def test_its_description_survives_everything(
    tmp_path: Path, identity: BackboneIdentity, unit: Unit, numbered: Numbered
) -> None:
    identity = replace(identity, prompts={"query": "q: "})
    fusion = Fusion("weighted", 0.25)
    path = tmp_path / "deep" / "index"
    with LanceIndex.create(path, identity, fusion=fusion) as index:
        index.add(numbered(9), unit(9))
        index.upsert(numbered(4), unit(4, seed=1))
        index.delete(["p000"])
        index.optimize()
    moved = tmp_path / "moved"
    shutil.move(path, moved)
    with LanceIndex.open(moved) as index:
        assert (index.identity, index.fusion, len(index)) == (identity, fusion, 8)
    uri = moved.as_uri()
    assert LanceIndex.exists(uri)
    assert len(LanceIndex.open(uri)) == 8


def test_another_backbone_is_refused_and_both_are_named(
    index: LanceIndex, identity: BackboneIdentity
) -> None:
    index.check_backbone(replace(identity, name="/another/path", max_length=512))
    other = BackboneIdentity("cd" * 32, "bigger", 16, "cls", 256)
    with pytest.raises(BackboneMismatchError) as caught:
        index.check_backbone(other)
    message = str(caught.value)
    assert "hash (weights abababababab, 8 dimensions, mean pooling)" in message
    assert "bigger (weights cdcdcdcdcdcd, 16 dimensions, cls pooling)" in message
    assert "\n" not in message
    for changed in ({"pooling": "cls"}, {"prompts": {"document": "passage: "}}):
        with pytest.raises(BackboneMismatchError):
            index.check_backbone(replace(identity, **changed))


def test_create_does_not_overwrite_unless_told(
    index: LanceIndex, identity: BackboneIdentity, unit: Unit, numbered: Numbered
) -> None:
    index.add(numbered(3), unit(3))
    with pytest.raises(WorkspaceError, match="already holds an index"):
        LanceIndex.create(index.uri, identity)
    assert len(index) == 3
    wider = replace(identity, dimension=4)
    again = LanceIndex.create(index.uri, wider, overwrite=True)
    again.add([Passage("a", "apple")], np.eye(1, 4, dtype=np.float32))
    assert LanceIndex.open(index.uri).identity == wider
    assert set(scores(again, "apple")) == {"a"}
    with pytest.raises(WorkspaceError, match="made anew with another encoder; open it again"):
        index.search(unit(1), 1)
    with pytest.raises(WorkspaceError, match="made anew"):
        index.upsert(numbered(3), unit(3))
    assert len(again) == 1


def test_missing_damaged_foreign_and_newer_indexes(
    tmp_path: Path, index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    with pytest.raises(WorkspaceError, match="holds no index"):
        LanceIndex.open(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    assert not LanceIndex.exists(tmp_path / "missing")

    foreign = lancedb.connect(tmp_path / "foreign")
    foreign.create_table("passages", [{"id": "a", "vector": [1.0]}])
    with pytest.raises(WorkspaceError, match="not an index made by Pointsman"):
        LanceIndex.open(tmp_path / "foreign")

    index.add(numbered(3), unit(3))
    schema = index._table.schema
    description = json.loads(schema.metadata[b"pointsman"])
    for change, message in (
        ({"format_version": 99}, "index format 99.*reads up to 1; upgrade with `pip"),
        ({"identity": {}}, "damaged"),
        ({"format_version": None}, "damaged"),
    ):
        changed = {b"pointsman": json.dumps({**description, **change}).encode()}
        path = tmp_path / "changed"
        lancedb.connect(path).create_table(
            "passages", schema=schema.with_metadata(changed), mode="overwrite"
        )
        with pytest.raises(WorkspaceError, match=message):
            LanceIndex.open(path)

    for manifest in Path(index.uri).glob("passages.lance/_versions/*"):
        manifest.write_bytes(b"junk")
    with pytest.raises(WorkspaceError, match=r"opening the index .* failed") as caught:
        LanceIndex.open(index.uri)
    assert "\n" not in str(caught.value)


def test_lost_data_files_are_an_error_in_one_line(
    index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    index.add(numbered(3), unit(3))
    for data in Path(index.uri).glob("passages.lance/data/*"):
        data.unlink()
    with pytest.raises(WorkspaceError, match=r"searching the index .* failed") as caught:
        LanceIndex.open(index.uri).search(unit(1), 1)
    assert "\n" not in str(caught.value)


def test_searches_go_on_while_another_thread_writes(
    index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    def write() -> None:
        for first in range(0, 60, 10):
            index.add(numbered(10, first=first), unit(10, seed=first))

    sizes = [0]
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        while not writer.done():
            dense, words = index.search(unit(1), 99)[0], index.search(None, 99, ["passage"])[0]
            sizes += [len(dense), len(words)]
        writer.result()
    assert sizes == sorted(sizes)  # only whole batches, and never fewer than before
    assert {size % 10 for size in sizes} == {0}
    assert len(index) == 60


def test_object_storage_needs_no_directory_and_no_lock(
    identity: BackboneIdentity, unit: Unit, numbered: Numbered
) -> None:
    index = LanceIndex.create("memory://somewhere", identity)
    index.add(numbered(3), unit(3))
    assert len(index.search(unit(1), 5, ["passage"])[0]) == 3
    assert not LanceIndex.exists("memory://somewhere")
    assert not Path("memory:").exists()


def test_a_closed_index_says_so(index: LanceIndex, unit: Unit) -> None:
    index.close()
    with pytest.raises(WorkspaceError, match="was closed"):
        len(index)
    with pytest.raises(WorkspaceError, match="was closed"):
        index.add([Passage("a", "x")], unit(1))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_stopped_in_the_middle_keeps_what_was_committed(
    index: LanceIndex, unit: Unit, numbered: Numbered, stop: type[BaseException]
) -> None:
    def write() -> None:
        with index.writing():
            index.add(numbered(3), unit(3))
            index.add(numbered(3, first=3), unit(3))
            raise stop

    with pytest.raises(stop):
        write()
    again = LanceIndex.open(index.uri)
    assert len(again) == 6
    assert len(again.search(unit(1), 10, ["passage"])[0]) == 6
    again.add(numbered(1, first=6), unit(1))
    assert all(part.num_unindexed_rows == 0 for part in again._table.list_indices())


def test_a_writer_killed_in_the_middle_leaves_a_good_index(
    index: LanceIndex, unit: Unit, numbered: Numbered
) -> None:
    script = """
import os, sys, numpy as np
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import Passage
index = LanceIndex.open(sys.argv[1])
with index.writing():
    index.add([Passage("one", "kept words")], np.eye(1, 8, dtype=np.float32))
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script, index.uri], check=False).returncode == 9
    assert ids(index.search(None, 3, ["kept"])[0]) == ["one"]
    index.add(numbered(2), unit(2))
    assert len(index) == 3
