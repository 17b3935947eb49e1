from __future__ import annotations

import math

import pytest
import torch

from pointsman.route.loss import contrastive_loss


def test_one_positive_a_row_is_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    similarities = torch.rand(5, 5, generator=generator)
    expected = torch.nn.functional.cross_entropy(similarities / 0.05, torch.arange(5))
    found = contrastive_loss(similarities, torch.eye(5, dtype=torch.bool), 0.05)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_two_positives_by_hand() -> None:
    # One query; documents with similarity ln 4, ln 2 (both relevant) and 0; temperature 1.
    similarities = torch.tensor([[math.log(4), math.log(2), 0.0]])
    positive = torch.tensor([[True, True, False]])
    expected = (-math.log(4 / 5) - math.log(2 / 3)) / 2
    assert contrastive_loss(similarities, positive, 1.0).item() == pytest.approx(expected)


def test_another_positive_is_no_negative() -> None:
    similarities = torch.tensor([[0.5, 0.9, 0.1]])
    alone = contrastive_loss(similarities[:, [0, 2]], torch.tensor([[True, False]]), 0.1)
    both = contrastive_loss(similarities, torch.tensor([[True, True, False]]), 0.1)
    other = contrastive_loss(similarities[:, [1, 2]], torch.tensor([[True, False]]), 0.1)
    assert both.item() == pytest.approx((alone.item() + other.item()) / 2, rel=1e-5)


def test_a_row_without_negatives_has_loss_zero_and_a_finite_gradient() -> None:
    similarities = torch.tensor([[0.3, 0.2]], requires_grad=True)
    loss = contrastive_loss(similarities, torch.ones(1, 2, dtype=torch.bool), 0.05)
    loss.backward()
    assert loss.item() == 0
    assert similarities.grad is not None
    assert torch.isfinite(similarities.grad).all()


def test_gradient_pulls_towards_positives() -> None:
    similarities = torch.tensor([[0.3, 0.4, 0.1]], requires_grad=True)
    contrastive_loss(similarities, torch.tensor([[True, False, False]]), 0.05).backward()
    assert similarities.grad is not None
    pull = similarities.grad[0]
    assert pull[0] < 0 < pull[1]
    assert pull[1] > pull[2]
