"""What a grader sees in a pool decides what is labelled: against windows computed another way."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from domains import COLOURS, FILLERS, LETTERS
from pointsman.backbone.encoder import Backbone
from pointsman.errors import ConfigError, InputError
from pointsman.grade.acquire import DISTANCES, NEIGHBOURS, acquire, likeliest
from pointsman.grade.augment import STRATEGIES
from pointsman.grade.grader import PairGrader
from pointsman.grade.head import GradeHead
from pointsman.grade.pairwise import PairTexts
from spaces import write_grader
from tiny import write_tiny


def pairs(words: list[str], count: int, seed: int) -> list[PairTexts]:
    """Five pairs a query, told apart by words drawn from those given."""
    rng = random.Random(seed)
    return [
        (f"what is {words[i // 5 % len(words)]} {seed} {i // 5}", " ".join(rng.choices(words, k=6)))
        for i in range(count)
    ]


TRAIN = pairs(LETTERS, 40, 0)
POOL = pairs(LETTERS, 30, 1) + pairs(COLOURS + FILLERS, 30, 2)
# Enough that Gaussians do not lie where their own samples are: features have 128 dimensions.
MANY = pairs(LETTERS + COLOURS, 400, 5)
LABELS = np.arange(400) % 3


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> PairGrader:
    folder = tmp_path_factory.mktemp("tiny")
    backbone = Backbone.load(write_tiny(folder / "base"), device="cpu", dtype="fp32")
    return PairGrader.load(backbone, write_grader(folder / "grader", backbone))


@pytest.fixture
def lost(grader: PairGrader) -> PairGrader:
    """A grader whose head came apart: every probability is NaN."""
    head = {
        name: torch.full_like(tensor, torch.nan) for name, tensor in grader._head.tensors.items()
    }
    return PairGrader(grader.backbone, GradeHead("plain", head), None, grader.settings)


def test_windows_are_between_quantiles_of_training(grader: PairGrader) -> None:
    """The k-th nearest neighbour of normalised features, by SciPy's distances."""
    train, pool = (
        features / np.linalg.norm(features, axis=1, keepdims=True)
        for features in (grader.features(TRAIN).astype(float), grader.features(POOL).astype(float))
    )
    # A training pair is measured by those of the other fifths of the queries.
    fold = np.unique([query for query, _ in TRAIN], return_inverse=True)[1] % 5
    between = np.where(fold[:, None] == fold[None, :], np.inf, cdist(train, train))
    fewer = [round(NEIGHBOURS * (fold != each).mean()) for each in fold]
    own = np.sort(between, axis=1)[np.arange(len(fold)), np.array(fewer) - 1]
    others = np.sort(cdist(pool, train), axis=1)[:, NEIGHBOURS - 1]
    lower, upper = np.quantile(own, [0.3, 0.9])
    inside = (others > lower) & (others <= upper)
    assert 5 <= inside.sum() < 55
    found = acquire(
        grader, POOL, TRAIN, None, 5, "distance", distances=["neighbours"], quantiles=(0.3, 0.9)
    )
    bounds = found.windows["neighbours"]
    assert (bounds.lower, bounds.upper) == pytest.approx((lower, upper), rel=1e-6)
    assert found.inside == inside.sum()
    # The farthest inside, the best first.
    expected = np.flatnonzero(inside)[np.argsort(-others[inside])][:5]
    assert found.picked.indices.tolist() == expected.tolist()
    assert found.picked.inside == 5


def test_both_windows_must_hold_a_pair(grader: PairGrader) -> None:
    def inside(*distances: str) -> int:
        return acquire(
            grader, POOL, MANY, LABELS, 5, "random", distances=distances, quantiles=(0.1, 1)
        ).inside

    both = inside("mahalanobis", "neighbours")
    assert 0 < both <= min(inside("mahalanobis"), inside("neighbours"))
    assert both == inside("neighbours", "mahalanobis", "neighbours")
    with pytest.raises(InputError, match=r"none of 60 samples lies inside the windows.*quartiles"):
        acquire(
            grader, POOL, MANY, None, 5, "random", distances=["neighbours"], quantiles=(0, 1e-9)
        )


def test_grades_shape_what_mahalanobis_distance_is() -> None:
    """Two grades far apart: a pair between them is near the mean of all, and far from each grade."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    train = rng.normal(size=(200, 4)).astype(np.float32) + 20 * labels[:, None]
    between = np.full((1, 4), 10, np.float32)
    queries = [str(i) for i in range(200)]
    own, far = DISTANCES["mahalanobis"](train, labels, queries, between)
    assert far[0] > own.max()
    own, near = DISTANCES["mahalanobis"](train, np.zeros_like(labels), queries, between)
    assert near[0] < own.min()


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("count", [60, 120, 480])
def test_a_pool_like_training_lies_where_training_lies(name: str, count: int) -> None:
    """However few samples there are for 120 dimensions: half of it is beyond their median."""
    rng = np.random.default_rng(1)
    train, pool = (
        (rng.normal(size=(size, 120)) * np.linspace(1, 0.1, 120)).astype(np.float32)
        for size in (count, 1000)
    )
    queries = [str(i) for i in range(count)]
    own, others = DISTANCES[name](train, np.arange(count) % 3, queries, pool)
    assert 0.35 < (others > np.median(own)).mean() < 0.65
    assert (others > np.quantile(own, 0.99)).mean() < 0.1


def test_pairs_of_one_query_do_not_vouch_for_each_other() -> None:
    """Queries that lie far apart, each with many pairs in one place, and a pool made alike."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(80, 16)) * 10
    features = np.repeat(places, 12, axis=0) + rng.normal(size=(960, 16)) * 0.01
    queries = [str(i // 12) for i in range(600)]
    train, pool = features[:600].astype(np.float32), features[600:].astype(np.float32)
    own, others = DISTANCES["neighbours"](train, None, queries, pool)
    assert 0.2 < (others > np.median(own)).mean() < 0.8


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gets_what_it_asks_for(grader: PairGrader, strategy: str) -> None:
    distances = ["neighbours"] if strategy == "distance" else []
    more = {"distances": distances, "quantiles": (0.0, 1.0), "seed": 3}
    found = acquire(grader, POOL, TRAIN, None, 7, strategy, **more)  # type: ignore[arg-type]
    assert len(set(found.picked.indices.tolist())) == 7
    again = acquire(grader, POOL, TRAIN, None, 7, strategy, **more)  # type: ignore[arg-type]
    assert again.picked.indices.tolist() == found.picked.indices.tolist()
    if not distances:
        assert (found.inside, found.picked.note, dict(found.windows)) == (60, "", {})


def test_the_unsure_come_first(grader: PairGrader) -> None:
    p = grader.probabilities(POOL).astype(float)
    entropy = -(p * np.log(p)).sum(axis=1)
    found = acquire(grader, POOL, TRAIN, None, 60, "entropy")
    assert entropy[found.picked.indices].tolist() == sorted(entropy.tolist(), reverse=True)


def test_queries_that_read_alike_share_their_cap(grader: PairGrader) -> None:
    pool = [("What is red?", "red"), ("what is  RED", "blue"), ("what is blue", "red")]
    found = acquire(grader, pool, TRAIN, None, 3, "random", per_query=1)
    assert len(found.picked.indices) == 2
    assert 2 in found.picked.indices


def test_the_likeliest_grade(grader: PairGrader) -> None:
    assert likeliest(grader, POOL).tolist() == grader.probabilities(POOL).argmax(axis=1).tolist()
    assert likeliest(grader, []).tolist() == []


def test_nan_goes_nowhere(grader: PairGrader, lost: PairGrader) -> None:
    assert len(acquire(lost, POOL, TRAIN, None, 3, "random").picked.indices) == 3
    for strategy in ("entropy", "margin"):
        with pytest.raises(InputError, match="probabilities must be finite"):
            acquire(lost, POOL, TRAIN, None, 3, strategy)
    with pytest.raises(InputError, match="probabilities must be finite"):
        likeliest(lost, POOL)


def test_features_of_nan_go_nowhere(grader: PairGrader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairGrader, "features", lambda *_: np.full((60, 4), np.nan, np.float32))
    for strategy, distances in (("coverage", []), ("typicality", []), ("random", ["neighbours"])):
        with pytest.raises(InputError, match="holds NaN or infinity"):
            acquire(grader, POOL, POOL, None, 3, strategy, distances=distances)


def test_what_cannot_be_asked_for(lost: PairGrader) -> None:
    with pytest.raises(ConfigError, match="no distance 'cosine'; there are mahalanobis, neighb"):
        acquire(lost, POOL, TRAIN, None, 3, "random", distances=["cosine"])
    with pytest.raises(ConfigError, match="q_high is a quantile above q_low"):
        acquire(lost, POOL, TRAIN, None, 3, "entropy", quantiles=(0.9, 0.5))
    with pytest.raises(ConfigError, match="need the grades of the training pairs"):
        acquire(lost, POOL, TRAIN, None, 3, "random", distances=["mahalanobis"])
    with pytest.raises(InputError, match="10 neighbours are wanted of 9 training samples"):
        acquire(lost, POOL, TRAIN[:9], None, 3, "random", distances=["neighbours"])
    with pytest.raises(ConfigError, match="needs distances"):
        acquire(lost, POOL, TRAIN, None, 3, "distance")
    with pytest.raises(InputError, match="the pool is empty"):
        acquire(lost, [], TRAIN, None, 3, "coverage", distances=["neighbours"])
    with pytest.raises(ConfigError, match="there is no strategy 'best'"):
        acquire(lost, POOL, TRAIN, None, 3, "best")
