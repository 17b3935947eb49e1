from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor

from pointsman.errors import ConfigError, InputError
from pointsman.grade.loss import (
    Direction,
    cross_entropy,
    label_smoothing,
    occ_loss,
    smooth_prior,
    soft_targets,
)

shares = st.floats(0, 1)
weights = st.floats(0, 20)
seeds = st.integers(0, 2**31)


def logits_and_targets(seed: int, rows: int = 4, grades: int = 4) -> tuple[Tensor, Tensor]:
    """Random logits that take a gradient, and soft targets; fp64, so that identities are sharp."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, grades, generator=generator, dtype=torch.float64)
    targets = torch.rand(rows, grades, generator=generator, dtype=torch.float64) ** 2
    return logits.requires_grad_(), targets / targets.sum(-1, keepdim=True)


# --- targets --------------------------------------------------------------------------------------


def test_a_rating_between_two_grades_by_hand() -> None:
    found = soft_targets(torch.tensor([1.0, 2.25, 3.0, 0.5, 9.0]), [1, 2, 3])
    expected = [[1, 0, 0], [0, 0.75, 0.25], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert found.dtype == torch.float32
    assert found.tolist() == expected


def test_whole_ratings_are_one_hot() -> None:
    labels = torch.tensor([2, 0, 1])
    expected = torch.nn.functional.one_hot(labels, 3)
    assert soft_targets(labels, [0, 1, 2]).equal(expected.float())


def test_no_ratings() -> None:
    assert soft_targets(torch.empty(0), [0, 1, 2]).shape == (0, 3)


levels_with_gaps = st.lists(st.floats(0.1, 3), min_size=2, max_size=6).map(
    lambda gaps: list(np.cumsum(gaps))
)


@given(levels_with_gaps, st.lists(st.floats(-2, 20), min_size=1, max_size=8))
def test_soft_targets_are_linear_interpolation(levels: list[float], scores: list[float]) -> None:
    found = soft_targets(torch.tensor(scores), levels).numpy()
    for grade, corner in enumerate(np.eye(len(levels))):
        assert found[:, grade] == pytest.approx(np.interp(scores, levels, corner), abs=1e-4)
    assert found.sum(-1) == pytest.approx(1)
    assert found @ levels == pytest.approx(np.clip(scores, levels[0], levels[-1]), abs=1e-3)


@pytest.mark.parametrize("levels", [[1, 2, 2], [3, 2, 1], [1], [], [0, math.nan], [0, math.inf]])
def test_levels_that_do_not_increase(levels: Sequence[float]) -> None:
    with pytest.raises(ConfigError, match=r"do not increase; give two finite values or more"):
        soft_targets(torch.tensor([1.0]), levels)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_rating_that_is_no_number(score: float) -> None:
    with pytest.raises(InputError, match="not a finite number; leave out pairs that nobody rated"):
        soft_targets(torch.tensor([1.0, score]), [1, 2, 3])


# --- priors ---------------------------------------------------------------------------------------


def test_symmetric_prior_by_hand() -> None:
    targets = torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0]])
    found = smooth_prior(targets, 0.4, ordinal=False)
    expected = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.4, 0.4, 0.1]]
    assert found.tolist() == [pytest.approx(row) for row in expected]


def test_ordinal_prior_by_hand() -> None:
    # From grade 0 the weights are 1, 1/e, 1/e²; from grade 1 they are 1/e, 1, 1/e.
    e = math.e
    lowest = [x / (1 + 1 / e + 1 / e**2) for x in (1, 1 / e, 1 / e**2)]
    middle = [x / (1 + 2 / e) for x in (1 / e, 1, 1 / e)]
    targets = torch.tensor([[1.0, 0, 0], [0.25, 0.75, 0]])
    found = smooth_prior(targets, 0.5, ordinal=True)
    mixture = [0.25 * a + 0.75 * b for a, b in zip(lowest, middle, strict=True)]
    spreads = [lowest, mixture]
    for row, target, spread in zip(found.tolist(), targets.tolist(), spreads, strict=True):
        assert row == pytest.approx([(t + u) / 2 for t, u in zip(target, spread, strict=True)])


@given(seeds, shares, st.booleans())
def test_a_prior_is_a_distribution(seed: int, rho: float, ordinal: bool) -> None:
    _, targets = logits_and_targets(seed)
    prior = smooth_prior(targets, rho, ordinal=ordinal)
    assert (prior >= 0).all()
    assert prior.sum(-1).tolist() == pytest.approx([1] * len(prior))


@given(st.integers(2, 6), st.floats(0.01, 1), st.data())
def test_an_ordinal_prior_falls_with_the_distance(
    grades: int, rho: float, data: st.DataObject
) -> None:
    label = data.draw(st.integers(0, grades - 1))
    target = torch.eye(grades, dtype=torch.float64)[label : label + 1]
    prior = smooth_prior(target, rho, ordinal=True)[0].tolist()
    by_distance = sorted(range(grades), key=lambda grade: abs(grade - label))
    for near, far in pairwise(by_distance):
        if abs(near - label) < abs(far - label):
            assert prior[near] > prior[far]


# --- losses ---------------------------------------------------------------------------------------


def test_cross_entropy_by_hand() -> None:
    log_p = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.4, 0.4]]).log()
    targets = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]])
    expected = -(math.log(0.5) + math.log(0.4)) / 2
    assert cross_entropy(log_p, targets).item() == pytest.approx(expected)


def test_label_smoothing_by_hand() -> None:
    log_p = torch.tensor([[0.8, 0.2]]).log()
    expected = -(0.9 * math.log(0.8) + 0.1 * math.log(0.2))
    found = label_smoothing(log_p, torch.tensor([[1.0, 0.0]]), 0.2)
    assert found.item() == pytest.approx(expected)


@given(seeds, shares)
def test_label_smoothing_is_pytorchs(seed: int, epsilon: float) -> None:
    logits, targets = logits_and_targets(seed)
    hard = targets.argmax(-1)
    log_p = logits.log_softmax(-1)
    for ours, theirs in ((targets, targets), (torch.eye(4, dtype=torch.float64)[hard], hard)):
        expected = torch.nn.functional.cross_entropy(logits, theirs, label_smoothing=epsilon)
        assert label_smoothing(log_p, ours, epsilon).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("direction", "divergence"),
    [
        ("forward", 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)),
        ("reverse", 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)),
    ],
)
def test_occ_by_hand(direction: Direction, divergence: float) -> None:
    # Target (1, 0) with ρ = ½: the prior is (¾, ¼). The prediction is undecided; λ = 2.
    log_p, target = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]])
    found = occ_loss(log_p, target, rho=0.5, weight=2, direction=direction, ordinal=False)
    assert found.item() == pytest.approx(math.log(2) + 2 * divergence)


@given(seeds, st.floats(0.01, 1), weights, st.booleans())
def test_both_directions_are_scipys(seed: int, rho: float, weight: float, ordinal: bool) -> None:
    logits, targets = logits_and_targets(seed)
    log_p = logits.log_softmax(-1).detach()
    p, prior = log_p.exp().numpy(), smooth_prior(targets, rho, ordinal=ordinal).numpy()
    expected: dict[Direction, float] = {
        "forward": entropy(prior, p, axis=-1).mean(),
        "reverse": entropy(p, prior, axis=-1).mean(),
    }
    base = cross_entropy(log_p, targets).item()
    for direction, divergence in expected.items():
        found = occ_loss(
            log_p, targets, rho=rho, weight=weight, direction=direction, ordinal=ordinal
        )
        assert found.item() == pytest.approx(base + weight * divergence)


@settings(deadline=None)  # the first backward pass of a process starts threads
@given(seeds, shares, weights, st.booleans())
def test_forward_occ_is_label_smoothing(
    seed: int, rho: float, weight: float, ordinal: bool
) -> None:
    logits, targets = logits_and_targets(seed)
    epsilon = weight * rho / (1 + weight)

    log_p = logits.log_softmax(-1)
    occ = occ_loss(log_p, targets, rho=rho, weight=weight, direction="forward", ordinal=ordinal)
    if ordinal:
        smoothed = cross_entropy(log_p, smooth_prior(targets, epsilon, ordinal=True))
    else:
        smoothed = label_smoothing(log_p, targets, epsilon)
    constant = entropy(smooth_prior(targets, rho, ordinal=ordinal).numpy(), axis=-1).mean()
    assert occ.item() == pytest.approx((1 + weight) * smoothed.item() - weight * constant)

    (of_occ,) = torch.autograd.grad(occ, logits, retain_graph=True)
    (of_smoothed,) = torch.autograd.grad(smoothed, logits)
    torch.testing.assert_close(of_occ, (1 + weight) * of_smoothed)


def test_reverse_occ_has_its_own_gradient() -> None:
    # d KL(p ‖ q) / d logits = p · (log p - log q - KL), worked out for one row.
    logits, targets = logits_and_targets(7, rows=1)
    loss = occ_loss(
        logits.log_softmax(-1), targets, rho=0.3, weight=1.5, direction="reverse", ordinal=True
    )
    (found,) = torch.autograd.grad(loss, logits)
    p, q = logits.detach().softmax(-1), smooth_prior(targets, 0.3, ordinal=True)
    ratio = (p / q).log()
    expected = (p - targets) + 1.5 * p * (ratio - (p * ratio).sum())
    torch.testing.assert_close(found, expected)


def test_without_weight_occ_is_cross_entropy() -> None:
    logits, targets = logits_and_targets(3)
    log_p = logits.log_softmax(-1)
    directions: list[Direction] = ["forward", "reverse"]
    for direction in directions:
        found = occ_loss(log_p, targets, rho=0.2, weight=0, direction=direction, ordinal=True)
        assert found.item() == pytest.approx(cross_entropy(log_p, targets).item())


def test_forward_occ_without_smoothing_is_finite() -> None:
    # 0 · log 0 = 0: the prior is the one-hot target, and the divergence its cross-entropy.
    log_p = torch.tensor([[0.8, 0.2]]).log()
    target = torch.tensor([[1.0, 0.0]])
    found = occ_loss(log_p, target, rho=0, weight=1, direction="forward", ordinal=False)
    assert found.item() == pytest.approx(-2 * math.log(0.8))


# --- settings that cannot be ----------------------------------------------------------------------

LOG_P = torch.tensor([[0.5, 0.5]]).log()
TARGET = torch.tensor([[1.0, 0.0]])


@pytest.mark.parametrize("rho", [-0.1, 1.1, math.nan])
def test_rho_and_epsilon_are_shares(rho: float) -> None:
    with pytest.raises(ConfigError, match="rho must lie between 0 and 1"):
        smooth_prior(TARGET, rho, ordinal=True)
    with pytest.raises(ConfigError, match="epsilon must lie between 0 and 1"):
        label_smoothing(LOG_P, TARGET, rho)


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_the_weight_is_not_negative(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight must be a finite number of 0 or more"):
        occ_loss(LOG_P, TARGET, rho=0.1, weight=weight, direction="forward", ordinal=False)


def test_reverse_occ_needs_smoothing() -> None:
    with pytest.raises(ConfigError, match=r"rho must be above 0 .* infinite"):
        occ_loss(LOG_P, TARGET, rho=0, weight=1, direction="reverse", ordinal=False)


def test_a_direction_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="direction must be one of forward, reverse, not 'up'"):
        occ_loss(LOG_P, TARGET, rho=0.1, weight=1, direction="up", ordinal=False)  # type: ignore[arg-type]
