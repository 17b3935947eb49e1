from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from pointsman.errors import ConfigError, InputError
from pointsman.grade.augment import STRATEGIES, Pool, Window, pick, window
from pointsman.grade.distance import ClassGaussians, nearest_neighbour_distance


def pool(m: int, seed: int = 0, windows: int = 2, asked: int = 4, **other: Any) -> Pool:
    """A pool that every strategy can pick from: m pairs with `asked` queries, no two alike."""
    rng = np.random.default_rng(seed)
    known: dict[str, Any] = {
        "distances": [rng.gamma(2.0, size=m) for _ in range(2)],
        "windows": [Window(1.5, 4.0), Window(0.8)][:windows],
        "probabilities": rng.dirichlet([1.0, 1.0, 1.0], size=m),
        "features": rng.normal(size=(m, 3)).astype(np.float32),
        "train": rng.normal(size=(5, 3)),
        "queries": rng.integers(asked, size=m),
    }
    if windows < 2:
        known["distances"] = known["distances"][:1]
    return Pool(m, **(known | other))


def inside(given: Pool) -> np.ndarray:
    pairs = zip(given.distances, given.windows, strict=True)
    return np.all([window.inside(distances) for distances, window in pairs], axis=0)


# --- windows --------------------------------------------------------------------------------------


def test_a_window_is_between_quantiles_of_the_training_distances() -> None:
    own = np.arange(101.0)[::-1]
    assert window(own, 0.9) == Window(90, np.inf)
    assert window(own, 0.25, 0.995) == Window(25, 99.5)
    found = window(own, 0.5, 0.75)
    assert found.inside([49, 50, 50.1, 75, 75.1]).tolist() == [False, False, True, True, False]
    assert found.gap([49, 50, 60, 75, 77]) == pytest.approx([1, 0, 0, 0, 2])


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 0.99), st.floats(0, 1))
def test_at_most_a_share_of_the_training_samples_lies_above(
    own: list[float], q_low: float, part: float
) -> None:
    q_high = min(1.0, q_low + 1e-6 + part * (1 - q_low))
    above, between = window(own, q_low), window(own, q_low, q_high)
    assert above.inside(own).mean() <= 1 - q_low + 1 / len(own) + 1e-9
    assert (between.inside(own) <= above.inside(own)).all()
    assert ((between.gap(own) == 0) >= between.inside(own)).all()


def test_a_window_refuses_with_one_line() -> None:
    with pytest.raises(ConfigError, match=r"q_low is a quantile between 0 and 1, not 95"):
        window([1, 2], 95)
    with pytest.raises(ConfigError, match=r"q_high is a quantile above q_low \(0\.9\)"):
        window([1, 2], 0.9, 0.9)
    with pytest.raises(InputError, match="no training distances"):
        window([], 0.9)
    with pytest.raises(InputError, match="distance 1 of the training samples is nan"):
        window([1, np.nan], 0.9)
    with pytest.raises(InputError, match=r"is -0\.5; distances are .* not negative"):
        window([-0.5], 0.9)
    with pytest.raises(InputError, match=r"of shape \[samples\], not \(1, 2\)"):
        window([[1, 2]], 0.9)


def test_both_distances_find_a_shifted_part_of_a_pool() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    train = rng.normal(scale=0.2, size=(200, 4)) + np.eye(4)[labels]
    like, shifted = rng.normal(scale=0.2, size=(90, 4)) + np.eye(4)[0], np.eye(4)[[3] * 10]
    features = np.vstack([like, shifted + rng.normal(scale=0.2, size=(10, 4))])
    gaussians = ClassGaussians.fit(train, labels)
    own = nearest_neighbour_distance(train, train, 3, leave_one_out=True)
    near = nearest_neighbour_distance(train, features, 3)
    known = Pool(
        100,
        distances=[gaussians.nearest(features), near],
        windows=[window(gaussians.nearest(train), 0.99), window(own, 0.99)],
    )
    assert sorted(pick(known, 10, "distance").indices) == list(range(90, 100))


# --- what holds for every strategy ----------------------------------------------------------------


@given(
    m=st.integers(1, 40),
    budget=st.integers(1, 50),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    cap=st.one_of(st.none(), st.integers(1, 5)),
    windows=st.integers(0, 2),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_never_twice_never_above_the_cap_and_exactly_what_there_is(
    m: int, budget: int, strategy: str, cap: int | None, windows: int, seed: int
) -> None:
    given = pool(m, seed, windows)
    lies = inside(given) if windows else np.ones(m, dtype=bool)
    if not lies.any():
        with pytest.raises(InputError, match="none of"):
            pick(given, budget, strategy, per_query=cap, seed=seed)
        return
    picked = pick(given, budget, strategy, per_query=cap, seed=seed)
    found = picked.indices.tolist()
    queries = np.asarray(given.queries)

    def available(which: np.ndarray) -> int:
        return int(np.minimum(np.bincount(queries[which]), cap or m).sum())

    assert len(set(found)) == len(found)
    assert np.bincount(queries[found]).max() <= (cap or m)
    assert len(found) == min(budget, available(np.ones(m, dtype=bool)))
    # All that fits of what lies inside goes before anything outside.
    assert picked.inside == min(budget, available(lies))
    assert lies[found].tolist() == [True] * picked.inside + [False] * (len(found) - picked.inside)
    again = pick(given, budget, strategy, per_query=cap, seed=seed)
    assert again.indices.tolist() == found
    assert again.note == picked.note


@given(
    m=st.integers(1, 40),
    budget=st.integers(1, 50),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_whole_queries_are_whole(m: int, budget: int, strategy: str, seed: int) -> None:
    given = pool(m, seed, windows=1, asked=8)
    queries = np.asarray(given.queries)
    sizes = np.bincount(queries)
    if not inside(given).any():
        return
    if sizes[sizes > 0].min() > budget:
        with pytest.raises(InputError, match=f"no query of the pool has {budget} samples or fewer"):
            pick(given, budget, strategy, whole_queries=True, seed=seed)
        return
    found = pick(given, budget, strategy, whole_queries=True, seed=seed).indices
    assert len(found) <= budget
    taken = set(queries[found].tolist())
    assert sorted(found) == np.flatnonzero(np.isin(queries, list(taken))).tolist()
    # None that is left would have fitted.
    rest = [size for query, size in enumerate(sizes) if size and query not in taken]
    assert all(size > budget - len(found) for size in rest)


@pytest.mark.parametrize("strategy", ["entropy", "margin", "distance", "coverage"])
def test_the_order_of_the_pool_does_not_matter(strategy: str) -> None:
    one, order = pool(30, windows=1), np.random.default_rng(5).permutation(30)
    other = pool(
        30,
        windows=1,
        distances=[np.asarray(one.distances[0])[order]],
        probabilities=np.asarray(one.probabilities)[order],
        features=np.asarray(one.features)[order],
        queries=np.asarray(one.queries)[order],
    )
    first = pick(one, 12, strategy, per_query=4, seed=1).indices
    second = pick(other, 12, strategy, per_query=4, seed=2).indices
    assert order[second].tolist() == first.tolist()


def test_another_seed_draws_others_at_random_and_among_equals() -> None:
    equal = Pool(50, distances=[np.ones(50)])
    for strategy in ("random", "distance"):
        one, two = (pick(equal, 10, strategy, seed=seed).indices.tolist() for seed in (0, 1))
        assert one != two
        assert one != sorted(one)


# --- each strategy --------------------------------------------------------------------------------


def test_entropy_and_margin_disagree_as_they_should() -> None:
    p = np.array([[0.98, 0.01, 0.01], [0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0.7, 0.2, 0.1]])
    assert entropy(p[2]) > entropy(p[3]) > entropy(p[1])
    known = Pool(4, probabilities=p)
    assert pick(known, 4, "entropy").indices.tolist() == [2, 3, 1, 0]
    assert pick(known, 4, "margin").indices.tolist() == [1, 2, 3, 0]


def test_the_farthest_inside_the_window_comes_first() -> None:
    known = Pool(6, distances=[[0.5, 3, 9, 2, 4, 1]], windows=[Window(1, 8)])
    assert pick(known, 2, "distance").indices.tolist() == [4, 1]
    assert pick(Pool(6, distances=known.distances), 2, "distance").indices.tolist() == [2, 4]


def test_two_distances_are_ranked_by_the_mean_of_ranks_inside_both() -> None:
    # Ranks inside: 4, 3, 2, 1 and 1, 4, 2, 3, whose means are 2.5, 3.5, 2, 2.
    first, second = [90, 3, 2, 1, 99], [1, 40, 2, 3, 0]
    known = Pool(5, distances=[first, second], windows=[Window(0), Window(0.5)])
    assert pick(known, 2, "distance").indices.tolist() == [1, 0]
    assert 4 not in pick(known, 4, "distance").indices


def test_coverage_by_hand() -> None:
    # From 0: 10 is farthest, then 5, then 1, 9 and 5.5, all nearer than 2.
    known = Pool(5, features=[[1.0], [5], [9], [10], [6.5]], train=[[0.0]])
    assert pick(known, 3, "coverage").indices.tolist() == [3, 1, 4]
    # 10 lies outside the window, and 9 goes in its place.
    inner = Pool(5, [[1, 5, 9, 10, 6.5]], [Window(0, 9.5)], features=known.features, train=[[0.0]])
    assert pick(inner, 2, "coverage").indices.tolist() == [2, 1]


def greedy(features: np.ndarray, centres: np.ndarray, budget: int) -> list[int]:
    """Greedy k-centre as it is written down, with no distance kept."""
    found: list[int] = []
    for _ in range(budget):
        gaps = cdist(features, np.vstack([centres, features[found]])).min(axis=1)
        found.append(int(gaps.argmax()))
    return found


@given(n=st.integers(1, 6), m=st.integers(3, 12), k=st.integers(1, 3), seed=st.integers(0, 999))
@settings(deadline=None)
def test_coverage_is_greedy_k_centre_and_within_twice_the_best(
    n: int, m: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features, train = rng.normal(size=(m, 2)), rng.normal(size=(n, 2))
    found = pick(Pool(m, features=features, train=train), k, "coverage").indices.tolist()
    assert found == greedy(features, train, k)

    def radius(chosen: tuple[int, ...]) -> float:
        return float(cdist(features, np.vstack([train, features[list(chosen)]])).min(axis=1).max())

    best = min(radius(chosen) for chosen in combinations(range(m), k))
    assert radius(tuple(found)) <= 2 * best + 1e-9


def test_coverage_without_training_samples_starts_anywhere() -> None:
    known = Pool(3, features=[[0.0], [1], [10]])
    starts = {int(pick(known, 1, "coverage", seed=seed).indices[0]) for seed in range(20)}
    assert starts == {0, 1, 2}
    empty = Pool(3, features=known.features, train=np.zeros((0, 1)))
    assert len(pick(empty, 3, "coverage").indices) == 3


def test_coverage_counts_what_a_whole_query_brings() -> None:
    # 10 brings 5.5 along, from outside the window, so that 6 is nearer to a sample taken than 2 is.
    known = Pool(
        4,
        distances=[[10, 0, 6, 2]],
        windows=[Window(1)],
        features=[[10.0], [5.5], [6.0], [2.0]],
        train=[[0.0]],
        queries=["a", "a", "b", "c"],
    )
    assert pick(known, 3, "coverage", whole_queries=True).indices.tolist() == [0, 1, 3]
    assert pick(known, 2, "coverage").indices.tolist() == [0, 2]


def test_typicality_takes_the_middle_of_each_cluster_largest_first() -> None:
    around = np.array([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    features = np.vstack([around[:4] + 50, 2 * around, [[100, 0]]])
    known = Pool(10, features=features)
    for seed in range(5):
        assert pick(known, 3, "typicality", seed=seed).indices.tolist() == [4, 0, 9]
    # A second turn of the same clusters where the first is over: never for want of clusters.
    assert sorted(pick(known, 99, "typicality").indices) == list(range(10))
    # Capped, the cluster's next best steps in.
    capped = Pool(10, features=features, queries=[0, 1, 2, 3, 0, 5, 6, 7, 8, 9])
    found = pick(capped, 3, "typicality", per_query=1).indices.tolist()
    assert found[0] == 4
    assert found[1] in (1, 2, 3)
    assert found[2] == 9


def test_typicality_of_equal_samples() -> None:
    assert len(pick(Pool(6, features=np.ones((6, 2))), 4, "typicality").indices) == 4


# --- windows that hold too little or too much -----------------------------------------------------


def test_the_nearest_to_the_window_fill_the_budget_up() -> None:
    known = Pool(6, distances=[[5, 0.2, 0.9, 9.5, 12, 3]], windows=[Window(1, 9)])
    picked = pick(known, 5, "distance")
    assert picked.indices.tolist() == [0, 5, 2, 3, 1]  # gaps 0.1, 0.5, 0.8
    assert picked.inside == 2
    assert picked.note.startswith("3 of 5 picked lie outside the windows, above 1 up to 9 of")
    assert pick(known, 2, "distance").note == ""


def test_the_window_that_chooses_nothing_is_said() -> None:
    known = Pool(3, distances=[[1, 2, 3]], windows=[Window(0.5)])
    assert pick(known, 1, "random").note == (
        "all 3 samples lie inside the windows, above 0.5 of distances 1/1.5/2/2.5/3 "
        "(minimum/quartiles/maximum)"
    )
    assert pick(Pool(3), 1, "random").note == ""


def test_a_window_that_holds_nothing_is_refused_with_the_numbers() -> None:
    known = Pool(3, distances=[[1, 2, 3], [1, 1, 1]], windows=[Window(4), Window(0, 2)])
    with pytest.raises(InputError) as caught:
        pick(known, 1, "random")
    assert str(caught.value) == (
        "none of 3 samples lies inside the windows, above 4 of distances 1/1.5/2/2.5/3 "
        "(minimum/quartiles/maximum) and above 0 up to 2 of distances 1/1/1/1/1 "
        "(minimum/quartiles/maximum); widen a window"
    )


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted", "error", "message"),
    [
        (Pool(0), {}, InputError, "the pool is empty"),
        (Pool(3), {"budget": 0}, ConfigError, "at least 1 sample, not 0"),
        (Pool(3), {"strategy": "best"}, ConfigError, "no strategy 'best'; there are random, ent"),
        (Pool(3), {"strategy": "entropy"}, ConfigError, "needs probabilities; give them"),
        (Pool(3), {"strategy": "margin"}, ConfigError, "needs probabilities"),
        (Pool(3), {"strategy": "distance"}, ConfigError, "needs distances"),
        (Pool(3), {"strategy": "coverage"}, ConfigError, "needs features"),
        (Pool(3), {"strategy": "typicality"}, ConfigError, "needs features"),
        (Pool(3), {"per_query": 1}, ConfigError, "needs queries"),
        (Pool(3), {"whole_queries": True}, ConfigError, "needs queries"),
        (
            Pool(2, queries=[1, 2]),
            {"per_query": 1, "whole_queries": True},
            ConfigError,
            "whole queries cannot be capped",
        ),
        (Pool(2, queries=[1, 2]), {"per_query": 0}, ConfigError, "at least 1 sample, not 0"),
        (Pool(3, queries=[1, 2]), {"per_query": 1}, InputError, r"queries \(2,\) .* 3 samples"),
        (Pool(3, [[1, 2]]), {}, InputError, "2 rows of distances for a pool of 3 samples"),
        (Pool(1, [[np.inf]]), {}, InputError, "distance 0 of the pool is inf"),
        (Pool(1, [[1]], [Window(0)] * 2), {}, ConfigError, "1 arrays of distances have 2 windows"),
        (
            Pool(3, probabilities=[[0.5, 0.5]]),
            {"strategy": "entropy"},
            InputError,
            "1 rows of probabilities for a pool of 3 samples",
        ),
        (
            Pool(1, probabilities=[[0.5, 2.5]]),
            {"strategy": "margin"},
            InputError,
            "sums to 3 instead of 1",
        ),
        (
            Pool(2, features=[[0.0], [np.nan]]),
            {"strategy": "coverage"},
            InputError,
            "row 1 of the pool's features holds NaN",
        ),
        (
            Pool(3, features=[[0.0], [1.0]]),
            {"strategy": "typicality"},
            InputError,
            "2 rows of features for a pool of 3 samples",
        ),
        (
            Pool(1, features=[[0.0]], train=[[0.0, 1.0]]),
            {"strategy": "coverage"},
            InputError,
            "have 1 dimensions, the training samples 2",
        ),
    ],
)
def test_it_refuses_with_one_line(
    given: Pool, wanted: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        pick(given, **({"budget": 1, "strategy": "random"} | wanted))
    assert "\n" not in str(caught.value)
