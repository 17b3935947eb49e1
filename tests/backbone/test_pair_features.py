from __future__ import annotations

import math

import pytest
import torch

from pointsman.backbone.pair_features import feature_width, pair_features


def test_by_hand() -> None:
    # One pair, d = 2: a question of tokens (3, 0), (1, 0), a passage of one (0, 2), then padding.
    states = torch.tensor([[[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 1, 0]])
    passage = torch.tensor([[False, False, True, False]])
    root = math.sqrt(2)
    expected = [root, 0, 0, root, root, root, 0, 0]
    assert pair_features(states, mask, passage)[0].tolist() == pytest.approx(expected)
    assert feature_width(2) == 8


def test_a_passage_without_tokens_is_nothing() -> None:
    states = torch.randn(1, 3, 4)
    found = pair_features(states, torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    u, v, difference, product = found[0].chunk(4)
    assert v.abs().sum() == product.abs().sum() == 0
    assert difference.tolist() == pytest.approx(u.abs().tolist())
