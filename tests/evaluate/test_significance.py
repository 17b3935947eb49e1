from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from pointsman.errors import ConfigError, InputError
from pointsman.evaluate import significance
from pointsman.evaluate.significance import (
    bootstrap_interval,
    macro_interval,
    macro_randomisation,
    paired_randomisation,
)


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=80)
    ours = bootstrap_interval(values, level=0.9)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.n, ours.clusters) == (80, None)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for seed in range(300):
        interval = bootstrap_interval(generator.random(50) < 0.7, resamples=500, seed=seed)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_clusters_restore_the_coverage_that_dependence_takes() -> None:
    generator = np.random.default_rng(4)
    clusters = np.repeat(np.arange(30), 20)
    covered = {"clustered": 0, "apart": 0}
    for seed in range(200):
        values = generator.normal(size=30)[clusters] + generator.normal(size=600)
        apart = bootstrap_interval(values, resamples=300, seed=seed)
        whole = bootstrap_interval(values, list(clusters), resamples=300, seed=seed)
        covered["apart"] += apart.low <= 0 <= apart.high
        covered["clustered"] += whole.low <= 0 <= whole.high
    assert covered["clustered"] / 200 > 0.88
    assert covered["apart"] / 200 < 0.60


def test_clustered_mean_is_a_ratio_of_sums() -> None:
    # Resamples of two clusters, each twice as likely to be mixed: means 0, 1 and 3/4 (not 1/2).
    interval = bootstrap_interval([0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"], level=0.4)
    assert (interval.mean, interval.low, interval.high) == (0.75, 0.75, 0.75)
    wide = bootstrap_interval([0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"], level=0.9)
    assert (wide.low, wide.high, wide.n, wide.clusters) == (0.0, 1.0, 4, 2)


def test_singleton_clusters_change_nothing() -> None:
    values = list(np.random.default_rng(5).random(40))
    alone = bootstrap_interval(values, resamples=500)
    named = bootstrap_interval(values, [f"q{i}" for i in range(40)], resamples=500)
    assert (alone.low, alone.high) == pytest.approx((named.low, named.high))


def test_results_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).random(100)
    whole = bootstrap_interval(values, seed=7), paired_randomisation(values, values[::-1], seed=7)
    assert whole[0] != bootstrap_interval(values, seed=8)
    monkeypatch.setattr(significance, "_CHUNK", 1000)
    assert bootstrap_interval(values, seed=7) == whole[0]


def test_one_unit_has_no_interval() -> None:
    for interval in [bootstrap_interval([0.5]), bootstrap_interval([0.4, 0.6], ["a", "a"])]:
        assert interval.mean == 0.5
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_exact_p_by_hand() -> None:
    # Differences 1, 2, 3: sums of the 8 sign patterns are ±6, ±4, ±2, 0, 0.
    assert paired_randomisation([1, 2, 3], [0, 0, 0]).p_value == 2 / 8
    # Differences 3, 1, -2: the sum seen is 2, and 6 of the 8 reach it.
    test = paired_randomisation([3, 1, 0], [0, 0, 2])
    assert (test.p_value, test.exact, test.n) == (6 / 8, True, 3)
    assert test.difference == pytest.approx(2 / 3)


def test_exact_p_agrees_with_scipy() -> None:
    generator = np.random.default_rng(8)
    a, b = generator.random((2, 10)) + np.array([[0.2], [0.0]])

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(np.mean(x, axis=axis) - np.mean(y, axis=axis))

    theirs = stats.permutation_test(
        (a, b), difference, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert paired_randomisation(a, b).p_value == pytest.approx(theirs.pvalue)


def test_monte_carlo_p_agrees_with_scipy() -> None:
    generator = np.random.default_rng(9)
    a, b = generator.normal(size=(2, 60)) + np.array([[0.3], [0.0]])
    theirs = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples",
        n_resamples=9_999,
        vectorized=True,
        rng=np.random.default_rng(10),
    )
    ours = paired_randomisation(a, b)
    assert not ours.exact
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.02)


def test_monte_carlo_p_is_never_zero() -> None:
    assert paired_randomisation([1.0] * 30, [0.0] * 30, resamples=99).p_value == 1 / 100


def test_sums_that_tie_but_for_rounding_count() -> None:
    generator = np.random.default_rng(12)
    for _ in range(20):
        tenths = generator.integers(-9, 10, size=8)
        whole = paired_randomisation(tenths, np.zeros(8))
        assert paired_randomisation(tenths / 10, np.zeros(8)).p_value == whole.p_value


def test_equal_pairs_need_no_enumeration() -> None:
    a = [1.0] * 1000 + [1.0, 1.0, 0.0]
    b = [1.0] * 1000 + [0.0, 0.0, 1.0]
    test = paired_randomisation(a, b)
    assert (test.exact, test.p_value, test.n) == (True, 1.0, 1003)
    assert paired_randomisation(a, a).p_value == 1.0


def test_a_cluster_is_exchanged_as_a_whole() -> None:
    a, b = [1.0] * 12, [0.0] * 12
    assert paired_randomisation(a, b).p_value == 2 / 2**12
    test = paired_randomisation(a, b, ["x"] * 6 + ["y"] * 6)
    assert (test.p_value, test.clusters, test.difference) == (2 / 4, 2, 1.0)


def test_the_order_of_the_two_systems_changes_the_sign_only() -> None:
    a, b = np.random.default_rng(11).random((2, 14))
    forth, back = paired_randomisation(a, b), paired_randomisation(b, a)
    assert forth.difference == -back.difference
    assert forth.p_value == back.p_value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([]), r"values must be a non-empty list"),
        (lambda: bootstrap_interval([[1.0, 2.0]]), r"not of shape \(1, 2\)"),
        (lambda: bootstrap_interval([1.0, math.nan]), r"values\[1\] is nan"),
        (lambda: bootstrap_interval([1.0, 2.0], ["a"]), r"2 values but 1 clusters"),
        (lambda: paired_randomisation([], []), r"a must be a non-empty list"),
        (lambda: paired_randomisation([1.0], [1.0, 2.0]), r"a has 1 values and b 2"),
        (lambda: paired_randomisation([1.0], [math.inf]), r"b\[0\] is inf"),
        (lambda: paired_randomisation([1.0], [1.0], ["a", "b"]), r"1 values but 2 clusters"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        bootstrap_interval([1.0], level=95)
    with pytest.raises(ConfigError, match="resamples must be at least 1"):
        paired_randomisation([1.0], [1.0], resamples=0)


def test_macro_mean_weighs_sets_not_queries() -> None:
    interval = macro_interval([[0.0] * 90 + [1.0] * 10, [1.0, 1.0]])
    assert interval.mean == pytest.approx((0.1 + 1.0) / 2)
    assert (interval.n, interval.clusters) == (102, 2)
    # All the spread is the first set's, at half its weight.
    alone = bootstrap_interval([0.0] * 90 + [1.0] * 10)
    assert interval.high - interval.low == pytest.approx((alone.high - alone.low) / 2, abs=0.01)


def test_macro_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(13)
    covered = 0
    for seed in range(200):
        sets = [generator.random(30) < 0.8, generator.random(120) < 0.3]
        interval = macro_interval(sets, resamples=400, seed=seed)
        covered += interval.low <= 0.55 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_macro_test_of_one_set_is_the_paired_test() -> None:
    generator = np.random.default_rng(14)
    a, b = generator.random(40), generator.random(40)
    one, plain = macro_randomisation([a], [b], seed=3), paired_randomisation(a, b, seed=3)
    assert one.difference == pytest.approx(plain.difference)
    assert one.p_value == pytest.approx(plain.p_value, abs=0.002)


def test_macro_test_by_hand() -> None:
    # Units: ±1/4, ±1/4 (two queries of a set), ±1/2 (one query of the other). The sum seen is 1,
    # which two of the eight assignments reach.
    test = macro_randomisation([[1.0, 1.0], [1.0]], [[0.0, 0.0], [0.0]])
    assert (test.difference, test.p_value, test.exact) == (1.0, 0.25, True)


@pytest.mark.parametrize("pair", [([[1.0]], [[1.0, 2.0]]), ([[1.0]], [[1.0], [2.0]])])
def test_macro_test_refuses_what_is_not_paired(pair: tuple[list[list[float]], ...]) -> None:
    with pytest.raises(InputError, match="same sets"):
        macro_randomisation(*pair)


def test_macro_refuses_nothing_at_all() -> None:
    with pytest.raises(InputError, match="no set"):
        macro_interval([])
