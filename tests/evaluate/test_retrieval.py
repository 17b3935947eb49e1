from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.errors import ConfigError, InputError
from pointsman.evaluate.retrieval import evaluate_run

QRELS = {"q": {"d1": 2, "d2": 1, "d3": 3, "d4": 0}}
RUN = {"q": {"d2": 9.0, "x": 8.0, "d1": 7.0, "d4": 6.0}}


def test_ndcg_has_linear_gain_as_in_trec_eval() -> None:
    scores = evaluate_run(QRELS, RUN, ["nDCG@10", "nDCG@1"])
    ideal = 3 + 2 / math.log2(3) + 1 / 2
    assert scores.mean("nDCG@10") == pytest.approx((1 + 2 / 2) / ideal)  # exponential gain: 0.27
    assert scores.mean("nDCG@1") == pytest.approx(1 / 3)


def test_the_other_measures_by_hand() -> None:
    scores = evaluate_run(
        QRELS, RUN, ["RR@10", "AP@100", "R@2", "R@100", "P@10", "Success@1", "AP"]
    )
    assert scores.means == pytest.approx(
        {
            "RR@10": 1.0,
            "AP@100": (1 / 1 + 2 / 3) / 3,
            "R@2": 1 / 3,
            "R@100": 2 / 3,
            "P@10": 2 / 10,
            "Success@1": 1.0,
            "AP": (1 / 1 + 2 / 3) / 3,
        }
    )


def test_reciprocal_rank_stops_at_the_cutoff() -> None:
    run = {"q": {f"x{i}": 100.0 - i for i in range(10)} | {"d1": 1.0}}
    scores = evaluate_run(QRELS, run, ["RR@10", "RR@11", "RR", "MRR@11"])
    assert list(scores.values[0]) == pytest.approx([0, 1 / 11, 1 / 11, 1 / 11])


def test_queries_absent_from_the_run_count_zero_and_unjudged_ones_are_left_out() -> None:
    qrels = {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 0}, "d": {}, "e": {"x": 1}}
    run = {"a": {"x": 1.0}, "c": {"x": 1.0}, "e": {}, "stranger": {"x": 1.0}}
    scores = evaluate_run(qrels, run, ["R@100", "P@10"])
    assert scores.queries == ("a", "b", "e")
    assert list(scores["R@100"]) == [1.0, 0.0, 0.0]
    assert scores.mean("R@100") == pytest.approx(1 / 3)
    assert (scores.missing, scores.unjudged) == (1, 2)


def test_negative_grades_are_not_relevant() -> None:
    scores = evaluate_run({"q": {"good": 1, "spam": -2}}, {"q": {"spam": 2.0, "good": 1.0}})
    assert scores.mean("nDCG@10") == pytest.approx(1 / math.log2(3))
    assert scores.mean("RR@10") == 0.5


def test_all_measures_break_ties_alike() -> None:
    qrels = {"q": {"b": 1}}
    for measure in ["RR@10", "RR", "AP@100", "P@1", "nDCG@1"]:
        assert evaluate_run(qrels, {"q": {"a": 1.0, "b": 1.0}}, [measure]).mean(measure) == 1.0
        assert evaluate_run(qrels, {"q": {"c": 1.0, "b": 1.0}}, [measure]).mean(measure) < 1.0


def test_scores_closer_than_single_precision_keep_their_order() -> None:
    run = {"q": {"z": 1.0, "b": 1.0 + 1e-12}}
    assert evaluate_run({"q": {"b": 1}}, run, ["P@1"]).mean("P@1") == 1.0


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-50, 50), min_size=1),
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1),
)
def test_only_the_order_of_scores_matters(scores: dict[str, int], grades: dict[str, int]) -> None:
    qrels = {"q": {**grades, "sure": 1}}
    plain = evaluate_run(qrels, {"q": {d: float(s) for d, s in scores.items()}})
    moved = evaluate_run(qrels, {"q": {d: s / 7 + 1e3 for d, s in reversed(scores.items())}})
    assert (plain.values == moved.values).all()
    assert ((plain.values >= 0) & (plain.values <= 1)).all()


@pytest.mark.parametrize("name", ["nDGC@10", "nDCG@0", "nDCG@x", "P@-1", "", "exec(1)", "RR@1.5"])
def test_an_unknown_measure_is_answered_with_examples(name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown measure .*nDCG@10, RR@10"):
        evaluate_run(QRELS, RUN, [name])


def test_a_measure_that_needs_a_cutoff_says_so() -> None:
    with pytest.raises(ConfigError, match=r"'P' needs a cut-off, for example P@10"):
        evaluate_run(QRELS, RUN, ["P"])


def test_a_measure_that_was_not_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"'RR@10' was not measured; there are P@10"):
        evaluate_run(QRELS, RUN, ["P@10"]).mean("RR@10")


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_named(score: float) -> None:
    with pytest.raises(InputError, match=r"query 'q', document 'd2': the score is"):
        evaluate_run(QRELS, {"q": {"d2": score}})


def test_judgements_and_run_of_different_collections() -> None:
    with pytest.raises(InputError, match=r"the run has 'other', the judgements 'q'"):
        evaluate_run(QRELS, {"other": {"d1": 1.0}})


def test_no_relevant_document_at_all() -> None:
    with pytest.raises(InputError, match=r"none of the 1 judged queries"):
        evaluate_run({"q": {"d": 0}}, RUN)


def test_an_empty_run_scores_zero() -> None:
    scores = evaluate_run(QRELS, {})
    assert set(scores.means.values()) == {0.0}
    assert scores.missing == 1
