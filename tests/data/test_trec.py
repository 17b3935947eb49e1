"""TREC files, with ir_measures as the rival that must read the same."""

from __future__ import annotations

import math
from pathlib import Path

import ir_measures
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.data.trec import read_run, read_trec_qrels, write_run, write_trec_qrels
from pointsman.errors import FormatError, InputError


def test_a_run_is_written_in_the_order_that_trec_eval_scores(tmp_path: Path) -> None:
    file = tmp_path / "run.txt"
    write_run(file, {"q2": {"a": 0.5, "c": 0.5, "b": 1.0}, "q1": {"x": -1.0}}, tag="mine")
    assert file.read_text() == (
        "q2 Q0 b 1 1.0 mine\nq2 Q0 c 2 0.5 mine\nq2 Q0 a 3 0.5 mine\nq1 Q0 x 1 -1.0 mine\n"
    )


def test_ir_measures_reads_the_same(tmp_path: Path) -> None:
    run = {"q1": {"d1": 0.1 + 0.2, "d2": 1e-30}, "q2": {"d1": 3.0}}
    qrels = {"q1": {"d1": 2, "d3": 0}, "q2": {"d9": 1}}
    write_run(tmp_path / "run", run)
    write_trec_qrels(tmp_path / "qrels", qrels)
    theirs: dict[str, dict[str, float]] = {}
    for scored in ir_measures.read_trec_run(str(tmp_path / "run")):
        theirs.setdefault(scored.query_id, {})[scored.doc_id] = scored.score
    judged: dict[str, dict[str, int]] = {}
    for row in ir_measures.read_trec_qrels(str(tmp_path / "qrels")):
        judged.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    assert theirs == read_run(tmp_path / "run") == run
    assert judged == read_trec_qrels(tmp_path / "qrels") == qrels


def test_only_the_score_counts(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("q Q0 low 1 0.1 t\r\n\nq\tQ0\thigh\t9\t0.9\tt\n")
    assert list(read_run(file)["q"]) == ["high", "low"]


ids = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=6
).filter(lambda text: text == text.strip())
scores = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(ids, st.dictionaries(ids, scores, min_size=1, max_size=4), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_runs_survive_even_with_spaces_in_ids(
    tmp_path: Path, run: dict[str, dict[str, float]]
) -> None:
    write_run(tmp_path / "run", run)
    assert read_run(tmp_path / "run") == run


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_not_finite_never_reach_the_file(tmp_path: Path, score: float) -> None:
    file = tmp_path / "run"
    write_run(file, {"q": {"d": 1.0}})
    with pytest.raises(InputError, match="the score of 'e' for the query 'q' is"):
        write_run(file, {"q": {"d": 2.0, "e": score}})
    assert read_run(file) == {"q": {"d": 1.0}}


@pytest.mark.parametrize("id", ["", " a", "a\tb", "a\nb"])
def test_ids_that_break_a_line_are_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(InputError, match="cannot stand in a TREC file"):
        write_run(tmp_path / "run", {"q": {id: 1.0}})
    with pytest.raises(InputError, match="cannot stand in a TREC file"):
        write_trec_qrels(tmp_path / "qrels", {id: {"d": 1}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 e 1 0.5", "6 fields are needed .*, this line has 5"),
        ("q Q0 e 1 much t", "a score is a number, not 'much'"),
        ("q Q0 e 1 nan t", "a score must be finite, not nan"),
        ("q Q0 d 2 0.5 t", "the document 'd' stands twice for the query 'q'"),
    ],
)
def test_bad_run_lines(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "run").write_text(f"q Q0 d 1 1.0 t\n{line}\n")
    with pytest.raises(FormatError, match=message) as caught:
        read_run(tmp_path / "run")
    assert caught.value.line == 2


def test_bad_qrels_lines(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q 0 d 1\nq 0 d x\n")
    with pytest.raises(FormatError, match=":2: a grade is a whole number, not 'x'"):
        read_trec_qrels(tmp_path / "qrels")
