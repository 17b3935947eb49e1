from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import ConfigError, InputError
from pointsman.evaluate.calibration import (
    adaptive_ece,
    brier,
    ece,
    nll,
    reliability,
    risk_coverage,
    top_label,
)

shares = st.floats(0, 1, width=32)


def test_ece_by_hand() -> None:
    # Two bins: (0, ½] holds 0.1 and 0.4, half right; (½, 1] holds 0.7 and 0.9, all right.
    confidence, correct = [0.1, 0.4, 0.7, 0.9], [0, 1, 1, 1]
    assert ece(confidence, correct, bins=2) == pytest.approx(0.5 * 0.25 + 0.5 * 0.2)
    diagram = reliability(confidence, correct, bins=4)
    assert list(diagram.size) == [1, 1, 1, 1]
    assert list(diagram.accuracy) == [0, 1, 1, 1]


def test_bins_of_equal_width_are_closed_above() -> None:
    edges = [m / 10 for m in range(1, 11)]
    assert list(reliability(edges, [1] * 10, bins=10).size) == [1] * 10
    assert list(reliability([0.0, 1e-12, 1.0], [1] * 3, bins=10).size) == [2] + [0] * 8 + [1]


def test_an_empty_bin_counts_nothing() -> None:
    diagram = reliability([0.1, 0.9], [0, 1], bins=3)
    assert math.isnan(diagram.accuracy[1])
    assert diagram.error == pytest.approx(0.1)


def test_adaptive_bins_hold_equally_many() -> None:
    confidence = [0.91, 0.92, 0.93, 0.94, 0.95, 0.96]
    correct = [0, 0, 0, 1, 1, 1]
    assert list(reliability(confidence, correct, bins=3, adaptive=True).size) == [2, 2, 2]
    # equal width sees one crowded bin and misses most of the error: |0.5 - 0.935|
    assert ece(confidence, correct, bins=3) == pytest.approx(0.435)
    by_hand = (0.915 + abs(0.5 - 0.935) + 0.045) / 3
    assert adaptive_ece(confidence, correct, bins=3) == pytest.approx(by_hand)


def test_equal_confidences_share_a_bin() -> None:
    confidence = [0.8] * 10
    assert adaptive_ece(confidence, [1] * 8 + [0] * 2) == pytest.approx(0)
    assert adaptive_ece(confidence, [0] * 2 + [1] * 8) == pytest.approx(0)


@given(st.lists(st.tuples(shares, st.booleans()), min_size=1, max_size=40), st.randoms())
def test_order_does_not_matter(pairs: list[tuple[float, bool]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for measure in [ece, adaptive_ece, brier, nll]:
        one, other = (measure(*zip(*p, strict=True)) for p in (pairs, shuffled))
        assert one == pytest.approx(other)
        assert one >= 0
    areas = [risk_coverage(*zip(*p, strict=True)).area for p in (pairs, shuffled)]
    assert areas[0] == pytest.approx(areas[1])


def test_calibrated_probabilities_have_little_error() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(50_000)
    correct = generator.random(50_000) < confidence
    assert ece(confidence, correct) < 0.01
    assert adaptive_ece(confidence, correct) < 0.01
    assert brier(confidence, correct) == pytest.approx(1 / 6, abs=0.005)
    assert nll(confidence, correct) == pytest.approx(1 / 2, abs=0.01)
    assert ece(confidence**0.5, correct) == pytest.approx(1 / 6, abs=0.01)


def test_proper_scores_by_hand() -> None:
    assert brier([0.8, 0.3], [1, 0]) == pytest.approx((0.04 + 0.09) / 2)
    assert nll([0.8, 0.3], [1, 0]) == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)
    three = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
    assert brier(three, [0, 1]) == pytest.approx(((0.09 + 0.04 + 0.01) + (0.01 + 0.81 + 0.64)) / 2)
    assert nll(three, [0, 1]) == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)


def test_proper_scores_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    binary, happened = generator.random(200), generator.integers(0, 2, 200)
    assert brier(binary, happened) == pytest.approx(metrics.brier_score_loss(happened, binary))
    assert nll(binary, happened) == pytest.approx(metrics.log_loss(happened, binary))
    many, labels = generator.dirichlet([1, 1, 1], 200), generator.integers(0, 3, 200)
    assert nll(many, labels) == pytest.approx(metrics.log_loss(labels, many))


def test_two_classes_have_twice_the_brier_score_of_one_event() -> None:
    p, y = np.array([0.2, 0.9, 0.6]), np.array([0, 1, 0])
    assert brier(np.stack([1 - p, p], axis=1), y) == pytest.approx(2 * brier(p, y))


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    assert nll([1.0, 1.0], [0, 1]) == pytest.approx(36.04 / 2, abs=0.01)


def test_top_label() -> None:
    confidence, correct = top_label([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [0, 1])
    assert list(confidence) == [0.7, 0.8]
    assert list(correct) == [1.0, 0.0]


def test_risk_coverage_by_hand() -> None:
    curve = risk_coverage([0.2, 0.9, 0.5, 0.7], [0, 1, 1, 0])
    assert list(curve.coverage) == [0.25, 0.5, 0.75, 1.0]
    assert list(curve.risk) == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.area == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_a_constant_confidence_cannot_rank() -> None:
    curve = risk_coverage([0.5] * 4, [0, 0, 1, 1])
    assert list(curve.risk) == [0.5] * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ece([], []), r"must hold at least one number"),
        (lambda: ece([0.5], [1, 0]), r"confidence \(1,\) and correct \(2,\)"),
        (lambda: ece([1.5], [1]), r"confidence must lie in \[0, 1\], not reach from 1.5"),
        (lambda: ece([math.nan], [1]), r"confidence must lie in"),
        (lambda: risk_coverage([0.5], [2]), r"correct must lie in"),
        (lambda: brier([[0.5, 0.5]], [0, 1]), r"shape \[n, classes\]"),
        (lambda: nll([[0.5, 0.5]], [2]), r"class numbers from 0 to 1"),
        (lambda: nll([[0.5, 0.5]], [-1]), r"class numbers from 0 to 1"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="bins must be at least 1"):
        ece([0.5], [1], bins=0)
