"""Sets against what can be counted: all of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.select.permutation import END
from pointsman.select.sets import (
    all_up_to,
    chances,
    likeliest,
    log_normaliser,
    log_prob,
    log_symmetric,
    sample,
)

SCORES = torch.tensor([[0.5, -1.0, 2.0, 0.0]], dtype=torch.float64)
SIZES = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64)


def test_by_hand() -> None:
    """Weights 1, 2, 3: e_1 = 6, e_2 = 2 + 3 + 6, e_3 = 6."""
    weights = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64).log()
    assert log_symmetric(weights, 4).exp()[0].tolist() == pytest.approx([1, 6, 11, 6, 0])
    # Pairs count double: 6 + 2 · 11 in all, of which {2, 3} is 2 · 6.
    sizes = torch.tensor([[1.0, 2.0]], dtype=torch.float64).log()
    assert log_normaliser(weights, sizes).exp().item() == pytest.approx(28)
    found = log_prob(weights, sizes, torch.tensor([[2, 1], [1, END]])).exp()
    assert found[0].tolist() == pytest.approx([12 / 28, 2 / 28])
    # Candidate 3 is in the set by itself, and in two pairs.
    assert chances(weights, sizes)[0, 2].item() == pytest.approx((3 + 2 * 3 + 2 * 6) / 28)


@settings(deadline=None)
@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=6),
    st.lists(st.floats(-5, 5), min_size=1, max_size=4),
)
def test_all_sets_together_are_certain(scores: list[float], sizes: list[float]) -> None:
    s, t = (torch.tensor([values], dtype=torch.float64) for values in (scores, sizes))
    every = all_up_to(len(scores), len(sizes))
    wanted = sum(math.comb(len(scores), j) for j in range(1, len(sizes) + 1))
    assert len(every) == wanted
    log_p = log_prob(s, t, every)
    assert log_p.exp().sum().item() == pytest.approx(1)
    included = torch.stack([(every == i).any(1) for i in range(len(scores))], dim=1).double()
    assert chances(s, t)[0].tolist() == pytest.approx(
        (log_p.exp() @ included)[0].tolist(), abs=1e-9
    )
    best = likeliest(s, t)
    assert log_prob(s, t, best).item() == pytest.approx(log_p.max().item())


def test_sets_are_drawn_as_often_as_they_are_likely() -> None:
    scores = torch.cat([SCORES, SCORES.flip(1)])
    drawn = sample(scores, SIZES.expand(2, -1), 20_000, torch.Generator().manual_seed(0))
    every = all_up_to(4, 3)
    chance = log_prob(scores, SIZES.expand(2, -1), every).exp()
    for question in range(2):
        shares = [(drawn[question] == row).all(1).double().mean().item() for row in every]
        assert shares == pytest.approx(chance[question].tolist(), abs=0.012)


def test_padding_is_nobody() -> None:
    padded = torch.cat([SCORES, torch.full((1, 2), -torch.inf, dtype=torch.float64)], dim=1)
    sets = torch.tensor([[2, 0, END], [1, END, END]])
    torch.testing.assert_close(log_prob(padded, SIZES, sets), log_prob(SCORES, SIZES, sets))
    assert chances(padded, SIZES)[0, 4:].tolist() == [0, 0]
    assert torch.equal(likeliest(padded, SIZES), likeliest(SCORES, SIZES))
    assert sample(padded, SIZES, 200, torch.Generator().manual_seed(0)).max() == 3
    alone = torch.tensor([[1.0, -torch.inf]], dtype=torch.float64)
    assert likeliest(alone, SIZES).tolist() == [[0, END, END]]


def test_the_order_of_a_set_means_nothing() -> None:
    one, other = log_prob(SCORES, SIZES, torch.tensor([[2, 0, END], [0, 2, END]]))[0]
    assert one.item() == pytest.approx(other.item())


def test_gradients_are_those_of_finite_differences() -> None:
    scores, sizes = SCORES.clone().requires_grad_(), SIZES.clone().requires_grad_()
    sets = torch.tensor([[2, 0, END], [1, END, END]])
    assert torch.autograd.gradcheck(lambda s, t: log_prob(s, t, sets), (scores, sizes))
    padded = torch.cat([SCORES, torch.full((1, 1), -torch.inf, dtype=torch.float64)], dim=1)
    padded.requires_grad_()
    log_prob(padded, SIZES, sets).sum().backward()
    assert padded.grad is not None
    assert torch.isfinite(padded.grad).all()
