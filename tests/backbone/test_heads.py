"""Each row through its own head, each head called once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pointsman.backbone.heads import apply_heads
from pointsman.errors import ConfigError

HEADS = {
    name: torch.randn(3, 5, generator=torch.Generator().manual_seed(ord(name))) for name in "abc"
}


@given(names=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=9), tokens=st.integers(1, 3))
def test_as_one_row_at_a_time(names: list[str | None], tokens: int) -> None:
    states = torch.randn(len(names), tokens, 5, generator=torch.Generator().manual_seed(0))
    calls = []

    def head(name: str | None, rows: Tensor) -> Tensor:
        calls.append(name)
        return rows[..., :3] if name is None else rows @ HEADS[name].T

    found = apply_heads(states, names, head)
    assert sorted(map(str, calls)) == sorted(map(str, set(names)))
    for row, name in enumerate(names):
        expected = states[row, :, :3] if name is None else states[row] @ HEADS[name].T
        assert torch.allclose(found[row], expected, atol=1e-6)
    assert len(found) == len(names)


def test_gradients_reach_every_head() -> None:
    weights = {name: torch.ones(2, 4, requires_grad=True) for name in "ab"}
    states = torch.ones(3, 4)
    out = apply_heads(states, ["a", "b", "a"], lambda name, rows: rows @ weights[name].T)
    torch.autograd.backward(out.sum())
    assert weights["a"].grad is not None
    assert weights["b"].grad is not None
    assert weights["a"].grad.tolist() == [[2.0] * 4] * 2
    assert weights["b"].grad.tolist() == [[1.0] * 4] * 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 heads for 3 rows"):
        apply_heads(torch.ones(3, 4), ["a", "b"], lambda name, rows: rows)
    with pytest.raises(ConfigError, match="head 'b' gives"):
        apply_heads(torch.ones(2, 4), ["a", "b"], lambda name, rows: rows[:, : 1 + (name == "b")])
