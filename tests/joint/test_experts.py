"""A router that learns from answers: what EM promises, and what it finds."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.errors import InputError
from pointsman.joint.experts import fit_experts


def test_it_finds_who_finds_the_answers() -> None:
    """Questions of two kinds; the second expert finds the answers of one, the first those of the other."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(2, (200,), generator=generator)
    features = torch.randn(200, 5, generator=generator)
    features[:, 3] += 5.0 * kind
    right = torch.stack([kind == 0, kind == 1, torch.zeros_like(kind, dtype=torch.bool)], 1)
    log_p = torch.where(right, -0.2, -2.0) + 0.1 * torch.randn(200, 3, generator=generator)
    log_p[torch.rand(200, 3, generator=generator) < 0.1] = -torch.inf
    choice, history = fit_experts(features[:150], log_p[:150])
    chosen = choice.log_p(features[150:]).argmax(1)
    assert (chosen == kind[150:]).double().mean() > 0.9
    assert choice.log_p(features).exp().sum(1) == pytest.approx(1)
    assert history[-1] > history[0] + 0.3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), experts=st.integers(1, 4))
def test_no_iteration_makes_answers_less_likely(seed: int, experts: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(20, 3, generator=generator)
    log_p = -3 * torch.rand(20, experts, generator=generator)
    log_p[torch.rand(20, experts, generator=generator) < 0.3] = -torch.inf
    log_p[0] = -1.0
    _, history = fit_experts(features, log_p, iterations=6)
    assert all(after >= before - 1e-6 for before, after in itertools.pairwise(history))


def test_what_nobody_answers_teaches_nothing() -> None:
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    log_p = torch.log_softmax(features[:, :2], dim=1)
    lost = torch.full((4, 2), -torch.inf)
    alone, _ = fit_experts(features, log_p)
    with_lost, _ = fit_experts(
        torch.cat([features, 100 * torch.ones(4, 3)]), torch.cat([log_p, lost])
    )
    torch.testing.assert_close(with_lost.weight, alone.weight)
    with pytest.raises(InputError, match="no expert finds the answer"):
        fit_experts(features[:4], lost)
