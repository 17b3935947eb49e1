"""Graded pairs: reading them, cutting scores into grades, parts by query, scores that are held back."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.data.graded import (
    PARTS,
    GradedPair,
    Grading,
    HeldBack,
    Pair,
    read_graded,
    read_pairs,
    read_parts,
)
from pointsman.data.splits import overlap
from pointsman.data.testbed import CROWDFLOWER, HOMEDEPOT, HOMEDEPOT_LEVELS
from pointsman.errors import ConfigError, FormatError, InputError


def pair(query: str, score: float = 1.0, id: str = "p") -> GradedPair:
    return GradedPair(id, query, "an item", "", score)


# --- files ----------------------------------------------------------------------------------------


def test_a_table_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv.gz"
    table = (
        "Query\tItem\tscore\tvariance\textra\r\n"
        '3/4" pipe\tPipe,  &amp; 3/4"\x07\t2.67\t0.471\tx\r\n'
        "\r\n"
        "bolt\tBolt\u2028M8\t1\t\t\r\n"
    )
    file.write_bytes(gzip.compress(("\ufeff" + table).encode()))
    assert list(read_graded(file)) == [
        GradedPair("2", '3/4" pipe', 'Pipe,  &amp; 3/4"\ufffd', "", 2.67, 0.471),
        GradedPair("4", "bolt", "Bolt\u2028M8", "", 1.0, None),
    ]
    assert list(read_pairs(file))[1] == Pair("4", "bolt", "Bolt\u2028M8", "")


def test_json_lines_hold_the_same_fields(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"id": 7, "query": "q", "text": "body", "grade": 3}\n'
        '{"query": "q", "title": "t", "text": "body", "score": "0.5", "variance": 0, "title ": 1}\n'
    )
    first, second = read_graded(file)
    assert first == GradedPair("7", "q", "", "body", 3.0)
    assert second == GradedPair("2", "q", "t", "body", 0.5, 0.0)
    assert (first.content, second.content) == ("body", "t body")


def test_pairs_that_are_not_judged_yet_need_no_score(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("id\tquery\ttext\na\tq\tbody\n")
    assert list(read_pairs(file)) == [Pair("a", "q", "", "body")]
    with pytest.raises(FormatError, match=r"a\.tsv:1: .*no column 'score', only id, query, text"):
        list(read_graded(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "q", "title": "t"}', "the field 'score' is missing or empty"),
        ('{"query": "q", "title": "t", "score": null}', "the field 'score' is missing or empty"),
        ('{"query": "q", "title": "t", "score": NaN}', "a score must be finite, not nan"),
        ('{"query": "q", "title": "t", "score": "good"}', "a score is a number, not 'good'"),
        ('{"query": "q", "title": "t", "score": true}', "a score is a number, not true or false"),
        ('{"query": "q", "title": "t", "score": 1%s}' % ("0" * 400), "a score is a number"),
        (
            '{"query": "q", "title": "t", "score": 1, "grade": 2}',
            "the field 'score' is given twice",
        ),
        ('{"query": "q", "title": "t", "score": 1, "variance": -1}', "cannot be negative"),
        ('{"query": " ", "title": "t", "score": 1}', "the query is empty"),
        ('{"query": "q", "text": "", "score": 1}', "neither a title nor a text"),
        ('{"query": 3, "title": "t", "score": 1}', "'query' must be text, not a number"),
        ('{"id": "1", "query": "q", "title": "t", "score": 1}', "stands already on line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"query": "q", "title": "t", "score": 1}\n' + line + "\n")
    with pytest.raises(FormatError, match=message) as caught:
        list(read_graded(file))
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q\tt", "2 columns where the header row has 3"),
        ("q\tt\tmore\t1", "4 columns where the header row has 3"),
        ("q\tt\t", "the field 'score' is missing or empty"),
        ("q\tt\tinf", "a score must be finite, not inf"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "a.tsv"
    file.write_text(f"query\ttitle\tscore\n\n{row}\n")
    with pytest.raises(FormatError, match=message) as caught:
        list(read_graded(file))
    assert caught.value.line == 3


def test_what_is_no_such_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"from a \.tsv or a \.jsonl file; convert"):
        list(read_graded(tmp_path / "a.csv"))
    with pytest.raises(InputError, match="there is no such file"):
        list(read_graded(tmp_path / "a.tsv"))
    (tmp_path / "b.tsv").write_text("query\titem\ttitle\tscore\n")
    with pytest.raises(FormatError, match="the field 'title' is given twice"):
        list(read_graded(tmp_path / "b.tsv"))


# --- grades ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "grade"),
    [(1, 0), (1.67, 0), (1.99, 0), (2, 1), (2.33, 1), (2.5, 1), (2.66, 1), (2.67, 2), (3, 2)],
)
def test_home_depots_scores_in_three_grades(score: float, grade: int) -> None:
    assert HOMEDEPOT.grade(score) == grade


def test_crowdflowers_median_grades() -> None:
    assert [CROWDFLOWER.grade(score) for score in (1, 2, 3, 4)] == [0, 1, 1, 2]


@pytest.mark.parametrize("cut", [2.67, 0.1 + 0.2, 1e4])
def test_a_score_that_lost_its_last_digits_stays_on_its_cut(cut: float) -> None:
    grading = Grading(("low", "high"), (cut,))
    just_below = float(np.nextafter(np.float32(cut), np.float32(0)))
    assert just_below < cut
    assert grading.grade(just_below) == grading.grade(float(np.float16(3e4))) == 1
    assert grading.grade(cut * 0.999) == 0


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=6, unique=True), st.integers(-60, 60))
def test_grades_are_numpys_bins(cuts: list[int], score: int) -> None:
    cuts = sorted(cuts)
    grading = Grading(tuple(f"g{i}" for i in range(len(cuts) + 1)), tuple(map(float, cuts)))
    assert grading.grade(score) == np.digitize(score, cuts)


@given(st.integers(100, 300))
def test_the_seven_levels_refine_the_three_grades(hundredths: int) -> None:
    score = hundredths / 100
    coarse = [0, 0, 0, 1, 1, 2, 2]
    assert coarse[HOMEDEPOT_LEVELS.grade(score)] == HOMEDEPOT.grade(score)


@pytest.mark.parametrize(
    ("names", "cuts", "message"),
    [
        (("only",), (), "two grades at least"),
        (("low", "high"), (), "2 grades need 1 cuts between them, not 0"),
        (("low", "mid", "high"), (2.0, 1.0), "must rise"),
        (("low", "mid", "high"), (1.0, 1.0), "must rise"),
        (("low", "high"), (float("nan"),), "must rise"),
        (("Low", "low"), (1.0,), "two grades are named 'low'"),
        (("low", "2"), (1.0,), "a name that is no number, not '2'"),
        (("low", " high"), (1.0,), "a name of one plain line"),
    ],
)
def test_a_grading_that_cannot_be_is_refused(
    names: tuple[str, ...], cuts: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Grading(names, cuts)


def test_pairs_must_differ_in_their_grades() -> None:
    made = HOMEDEPOT.grades([pair("a", 3.0), pair("b", 1.0), pair("c", 2.33)])
    assert made.tolist() == [2, 0, 1]
    assert made.dtype == np.int64
    with pytest.raises(InputError, match="all 2 pairs have the grade 'strong', and two must occur"):
        HOMEDEPOT.grades([pair("a", 3.0), pair("b", 2.67)], "mine.tsv")
    with pytest.raises(InputError, match=r"mine\.tsv: there is no pair in it"):
        HOMEDEPOT.grades([], "mine.tsv")
    with pytest.raises(InputError, match="finite, not nan"):
        HOMEDEPOT.grade(float("nan"))


# --- parts ----------------------------------------------------------------------------------------


def splits(folder: Path, **parts: object) -> Path:
    file = folder / "splits.json"
    file.write_text(json.dumps({name: [] for name in PARTS} | parts))
    return file


def test_pairs_go_to_the_part_of_their_query(tmp_path: Path) -> None:
    file = splits(
        tmp_path,
        train=["t1", "Oak  board"],
        pool=["p1", "p2"],
        id_dev=["d1"],
        id_test=["oak board.", "never asked"],
        ood_test=["o1"],
    )
    queries = ["o1", "t1", "Oak  board", "p1", "oak board.", "nowhere", "d1", "t1", "p2"]
    parts = read_parts(file, [pair(q, i, str(i)) for i, q in enumerate(queries)])
    assert [one.score for one in parts.train] == [1, 7]
    assert [one.id for one in parts.pool.pairs] == ["3", "8"]
    assert [one.query for one in parts.id_dev] == ["d1"]
    assert [one.query for one in parts.id_test] == ["oak board."]
    assert [one.query for one in parts.ood_test] == ["o1"]
    # in other clothes it stands in the test: there it stays, and is not trained on
    assert parts.left_out == ("Oak  board",)
    assert (parts.without_pairs, parts.without_part) == (1, 1)


@given(
    st.lists(st.lists(st.sampled_from(["a", "A", "a.", "b", "B!", "c"])), min_size=5, max_size=5)
)
def test_whatever_is_tested_is_trained_on_nowhere(lists: list[list[str]]) -> None:
    first: dict[str, int] = {}
    for number, queries in enumerate(lists):
        for query in queries:
            first.setdefault(query, number)
    given_parts = {part: [q for q in first if first[q] == n] for n, part in enumerate(PARTS)}
    pairs = [pair(query) for query in first] + [pair("anchor")]
    given_parts["ood_test"].append("anchor")
    with tempfile.TemporaryDirectory() as folder:
        parts = read_parts(splits(Path(folder), **given_parts), pairs)
    named = {
        "train": parts.train,
        "pool": parts.pool.pairs,
        "id_dev": parts.id_dev,
        "id_test": parts.id_test,
        "ood_test": parts.ood_test,
    }
    queries_of = {part: [one.query for one in held] for part, held in named.items()}
    for i, left in enumerate(PARTS):
        for right in PARTS[i + 1 :]:
            assert not overlap(queries_of[left], queries_of[right])
    kept = sum(map(len, queries_of.values()))
    assert kept + len(parts.left_out) == len(pairs)
    assert set(queries_of["ood_test"]) == set(given_parts["ood_test"])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": ["q"], "ood_test": ["q"]}, "the query 'q' stands in 'train' and 'ood_test'"),
        ({"pool": ["q", "q"]}, "the query 'q' stands in 'pool' twice"),
        ({"train": "q"}, "'train' must be a list"),
        ({"train": [3]}, "a query in 'train' must be text"),
        ({"dev": ["q"]}, "exactly the parts train, pool, id_dev, id_test, ood_test"),
    ],
)
def test_splits_that_cannot_be_are_refused(
    tmp_path: Path, parts: dict[str, object], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        read_parts(splits(tmp_path, **parts), [pair("q")])


def test_splits_of_other_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the pairs has a query of this file"):
        read_parts(splits(tmp_path, train=["q"]), [pair("another")])


# --- scores held back -----------------------------------------------------------------------------


def test_scores_come_only_when_they_are_looked_up_and_are_counted() -> None:
    held = HeldBack([pair(f"q{n}", float(n), str(n)) for n in range(5)])
    assert (len(held), held.spent) == (5, 0)
    assert not any(hasattr(one, "score") for one in held.pairs)
    assert [one.score for one in held.look_up([3, 1])] == [3.0, 1.0]
    assert [one.id for one in held.look_up(np.array([1, 4]))] == ["1", "4"]
    assert held.spent == 3


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "no pair was named"),
        ([0, 5], "there is no pair 5 to look up; places go from 0 to 4"),
        ([-1], "there is no pair -1"),
        ([True, False, False, False, True], "whole numbers"),
        ([0.5], "whole numbers"),
        ([[0], [1]], "whole numbers"),
    ],
)
def test_a_wrong_look_up_is_refused_and_costs_nothing(indices: list[object], message: str) -> None:
    held = HeldBack([pair(f"q{n}") for n in range(5)])
    with pytest.raises(InputError, match=message):
        held.look_up(indices)  # type: ignore[arg-type]
    assert held.spent == 0
