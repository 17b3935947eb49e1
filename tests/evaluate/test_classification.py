from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from pointsman.errors import ConfigError, InputError
from pointsman.evaluate import classification
from pointsman.evaluate.classification import (
    Resampled,
    accuracy,
    bootstrap,
    confusion,
    macro_f1,
    quadratic_kappa,
)
from pointsman.evaluate.significance import bootstrap_interval, paired_randomisation


def noisy(labels: np.ndarray, share: float, seed: int, classes: int = 4) -> np.ndarray:
    """Predictions of which about `share` are drawn at random."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, classes, len(labels))
    return np.where(generator.random(len(labels)) < share, drawn, labels)


def test_by_hand() -> None:
    counts = confusion([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0], 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert accuracy(counts) == pytest.approx(4 / 6)
    # F1: 2·1/(2+2), 2·2/(2+3), 2·1/(2+1).
    assert macro_f1(counts) == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    # Observed: one is off by 1, one by 2: 1 + 4. By chance, rows 2, 2, 2 and columns 2, 3, 1 of 6:
    # 2/6 · (0·2 + 1·3 + 4·1 + 1·2 + 0·3 + 1·1 + 4·2 + 1·3 + 0·1) = 7.
    assert quadratic_kappa(counts) == pytest.approx(1 - 5 / 7)


@pytest.mark.parametrize("absent", [None, 1, 3])
def test_scikit_learn_agrees(absent: int | None) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels = np.random.default_rng(0).integers(0, 4, 300)
    predictions = noisy(labels, 0.6, seed=1)
    if absent is not None:
        predictions[predictions == absent] = 0  # never predicted
    counts = confusion(labels, predictions, 4)
    assert counts.tolist() == metrics.confusion_matrix(labels, predictions).tolist()
    assert accuracy(counts) == pytest.approx(metrics.accuracy_score(labels, predictions))
    theirs = metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    assert macro_f1(counts) == pytest.approx(theirs)
    kappa = metrics.cohen_kappa_score(labels, predictions, weights="quadratic")
    assert quadratic_kappa(counts) == pytest.approx(kappa)


def test_a_class_in_neither_counts_as_nothing() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, predictions = [0, 0, 1, 1], [0, 1, 1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = metrics.f1_score(
            labels, predictions, average="macro", labels=[0, 1, 2], zero_division=0
        )
    assert macro_f1(confusion(labels, predictions, 3)) == pytest.approx(theirs)


def test_kappa_of_one_class_alone_shows_nothing() -> None:
    assert quadratic_kappa(confusion([1, 1], [1, 1], 3)) == 0
    assert quadratic_kappa(confusion([0, 1, 2], [1, 1, 1], 3)) == pytest.approx(0)


def test_many_matrices_at_once() -> None:
    counts = np.random.default_rng(2).integers(1, 9, size=(2, 5, 3, 3))
    for statistic in (accuracy, macro_f1, quadratic_kappa):
        together = statistic(counts)
        assert together.shape == (2, 5)
        for place in np.ndindex(2, 5):
            assert together[place] == pytest.approx(statistic(counts[place]))


def test_the_interval_of_accuracy_is_that_of_a_mean() -> None:
    labels = np.random.default_rng(3).integers(0, 3, 400)
    predictions = noisy(labels, 0.5, seed=4, classes=3)
    groups = list(np.random.default_rng(5).integers(0, 60, 400))
    ours = bootstrap(accuracy, labels, predictions, classes=3, groups=groups)
    mean = bootstrap_interval(labels == predictions, groups)
    assert (ours.value, ours.n, ours.groups) == (mean.mean, mean.n, mean.clusters)
    assert (ours.low, ours.high) == pytest.approx((mean.low, mean.high), abs=0.006)
    assert ours.p_value is None


def test_an_interval_of_macro_f1_by_every_resample() -> None:
    labels, predictions = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 0, 0])
    groups = np.array([0, 0, 1, 1, 2, 2])
    every = []
    for drawn in itertools.product(range(3), repeat=3):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        every.append(macro_f1(confusion(labels[rows], predictions[rows], 2)))
    ours = bootstrap(macro_f1, labels, predictions, classes=2, groups=list(groups), level=0.6)
    # Of 27 equally likely resamples the fifth and the last but four are the limits, or near them.
    expected = np.quantile(np.repeat(every, 1000), [0.2, 0.8])
    assert (ours.low, ours.high) == pytest.approx(tuple(expected))


def test_a_difference_is_measured_on_the_same_resamples() -> None:
    labels = np.random.default_rng(6).integers(0, 4, 300)
    a = noisy(labels, 0.4, seed=7)
    same = bootstrap(macro_f1, labels, a, a, classes=4)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    b = noisy(labels, 0.8, seed=8)
    better = bootstrap(macro_f1, labels, a, b, classes=4)
    assert better.value == pytest.approx(
        float(macro_f1(confusion(labels, a, 4)) - macro_f1(confusion(labels, b, 4)))
    )
    assert 0 < better.low < better.value < better.high
    assert better.p_value == pytest.approx(1 / 10_001)


@pytest.mark.parametrize("groups", [12, 40])
def test_p_of_accuracy_is_the_paired_test(groups: int) -> None:
    labels = np.random.default_rng(9).integers(0, 3, 240)
    a, b = noisy(labels, 0.5, 10, classes=3), noisy(labels, 0.57, 11, classes=3)
    names = [i % groups for i in range(240)]
    ours = bootstrap(accuracy, labels, a, b, classes=3, groups=names, samples=5000)
    theirs = paired_randomisation(labels == a, labels == b, names, resamples=5000)
    assert 0.005 < theirs.p_value < 0.9
    # The same signs in the same order; exact for twelve.
    assert ours.p_value == pytest.approx(theirs.p_value, abs=0.02 if groups > 16 else 1e-12)


def test_p_of_macro_f1_by_every_exchange() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2, 2, 1])
    a, b = np.array([0, 1, 2, 0, 1, 2, 1, 1]), np.array([0, 2, 1, 0, 1, 0, 0, 0])
    seen = abs(float(macro_f1(confusion(labels, a, 3)) - macro_f1(confusion(labels, b, 3))))
    as_large = 0
    for bits in itertools.product([False, True], repeat=4):
        exchange = np.repeat(bits, 2)
        one, other = np.where(exchange, b, a), np.where(exchange, a, b)
        difference = macro_f1(confusion(labels, one, 3)) - macro_f1(confusion(labels, other, 3))
        as_large += abs(float(difference)) >= seen - 1e-12
    ours = bootstrap(macro_f1, labels, a, b, classes=3, groups=[0, 0, 1, 1, 2, 2, 3, 3])
    assert ours.p_value == as_large / 16


def test_p_is_seldom_small_where_there_is_no_difference() -> None:
    small = 0
    for seed in range(200):
        labels = np.random.default_rng(seed).integers(0, 3, 90)
        a, b = (noisy(labels, 0.5, 1000 + 2 * seed + which, classes=3) for which in (0, 1))
        found = bootstrap(macro_f1, labels, a, b, classes=3, samples=199, seed=seed)
        assert found.p_value is not None
        small += found.p_value <= 0.1
    assert 0.04 <= small / 200 <= 0.17


def test_one_group_has_no_interval() -> None:
    found = bootstrap(macro_f1, [0, 1], [0, 0], classes=2, groups=["q", "q"])
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert (found.n, found.groups) == (2, 1)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(12).integers(0, 3, 50)
    predictions = noisy(labels, 0.5, seed=13, classes=3)

    def found(seed: int) -> Resampled:
        return bootstrap(macro_f1, labels, predictions, classes=3, samples=300, seed=seed)

    whole = found(1)
    assert whole != found(2)
    monkeypatch.setattr(classification, "_CHUNK", 1000)
    assert found(1) == whole


def test_a_thousand_groups_are_quick() -> None:
    labels = np.random.default_rng(14).integers(0, 4, 10_000)
    groups = [i // 10 for i in range(10_000)]
    start = time.process_time()
    bootstrap(macro_f1, labels, noisy(labels, 0.5, 15), classes=4, groups=groups)
    assert time.process_time() - start < 3  # less than half a second on an idle core


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion([], [], 2), r"labels \(0,\) and predictions \(0,\) must both"),
        (lambda: confusion([0, 1], [0], 2), r"labels \(2,\) and predictions \(1,\)"),
        (lambda: confusion([[0, 1]], [[0, 1]], 2), r"of shape \[n\]"),
        (lambda: confusion([0, 2], [0, 1], 2), r"labels must be classes from 0 to 1"),
        (lambda: confusion([0, 1], [0.5, 1], 2), r"predictions must be classes from 0 to 1"),
        (lambda: confusion([0, 1], [-1, 1], 2), r"predictions must be classes"),
        (lambda: accuracy([1, 2]), r"shape \[..., G, G\], not \(2,\)"),
        (lambda: macro_f1([[0, 0], [0, 0]]), r"without counts"),
        (
            lambda: bootstrap(accuracy, [0, 1], [0, 1], [0, 3], classes=2),
            r"predictions_b must be classes from 0 to 1",
        ),
        (
            lambda: bootstrap(accuracy, [0, 1], [0, 1], classes=2, groups=["a"]),
            r"2 labels but 1 groups",
        ),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "classes must be at least 2"),
        ({"classes": 2, "level": 95}, "level must lie between 0 and 1"),
        ({"classes": 2, "samples": 0}, "samples must be at least 1"),
    ],
)
def test_bad_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bootstrap(accuracy, [0, 0], [0, 0], **settings)  # type: ignore[arg-type]
