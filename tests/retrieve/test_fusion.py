from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import ConfigError
from pointsman.retrieve.fusion import (
    Fusion,
    min_max,
    reciprocal_rank_fusion,
    weighted_score_fusion,
)

rankings = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-50, 50), max_size=8).map(
        lambda scores: sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    ),
    min_size=1,
    max_size=3,
)


def test_reciprocal_rank_fusion_by_hand() -> None:
    fused = reciprocal_rank_fusion(
        [[("a", 9.0), ("b", 8.0), ("c", 1.0)], [("c", 0.3), ("a", 0.2), ("d", 0.1)]]
    )
    assert [id_ for id_, _ in fused] == ["a", "c", "b", "d"]
    assert dict(fused) == pytest.approx(
        {"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 63}
    )


def test_weighted_score_fusion_by_hand() -> None:
    dense = [("a", 0.9), ("b", 0.5), ("c", 0.1)]  # 1, 0.5, 0
    bm25 = [("c", 12.0), ("b", 6.0), ("d", 2.0)]  # 1, 0.4, 0
    fused = weighted_score_fusion([dense, bm25], [0.7, 0.3])
    assert dict(fused) == pytest.approx({"a": 0.7, "b": 0.47, "c": 0.3, "d": 0.0})
    assert [id_ for id_, _ in fused] == ["a", "b", "c", "d"]


def test_equal_scores_count_fully() -> None:
    assert min_max([("a", 3.0), ("b", 3.0)]) == [("a", 1.0), ("b", 1.0)]
    assert min_max([]) == []


def test_ties_go_by_id() -> None:
    assert [i for i, _ in reciprocal_rank_fusion([[("z", 1.0)], [("a", 1.0)]])] == ["a", "z"]


@given(rankings)
def test_rank_fusion_sees_ranks_only(given_rankings: list[list[tuple[str, float]]]) -> None:
    squeezed = [[(id_, score / 1000 + 7) for id_, score in one] for one in given_rankings]
    assert reciprocal_rank_fusion(given_rankings) == reciprocal_rank_fusion(squeezed)


@given(rankings)
def test_fusion_keeps_every_id_once_and_sorts(
    given_rankings: list[list[tuple[str, float]]],
) -> None:
    for fuse in (reciprocal_rank_fusion, weighted_score_fusion):
        fused = fuse(given_rankings)
        ids = [id_ for id_, _ in fused]
        assert sorted(ids) == sorted({id_ for one in given_rankings for id_, _ in one})
        scores = [score for _, score in fused]
        assert scores == sorted(scores, reverse=True)
        assert fused == fuse(given_rankings[::-1]) or len(given_rankings) > 2  # sums round


@given(rankings)
def test_one_ranking_keeps_its_order(given_rankings: list[list[tuple[str, float]]]) -> None:
    only = given_rankings[0]
    assert [i for i, _ in reciprocal_rank_fusion([only])] == [i for i, _ in only]


def test_all_weight_on_one_side_is_that_side() -> None:
    dense, bm25 = [("a", 0.9), ("b", 0.5)], [("b", 3.0), ("c", 2.0)]
    for method in ("rrf", "weighted"):
        assert Fusion(method, dense_weight=1.0).fuse(dense, bm25)[0][0] == "a"
        assert Fusion(method, dense_weight=0.0).fuse(dense, bm25)[0][0] == "b"


@pytest.mark.parametrize(
    "wrong", [{"method": "sum"}, {"dense_weight": 1.5}, {"rank_constant": -1.0}]
)
def test_wrong_settings_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(wrong)))):
        Fusion(**wrong)  # type: ignore[arg-type]
