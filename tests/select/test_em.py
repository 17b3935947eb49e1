"""EM on a case small enough to count every selection, and a reader whose likelihoods are given."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.errors import InputError
from pointsman.select.em import (
    centred,
    elbo,
    leave_one_out,
    log_marginal,
    posterior,
    reader_loss,
    sample_weights,
    sampled_log_marginal,
    selector_loss,
    told,
)
from pointsman.select.passagewise import set_log_likelihood
from pointsman.select.permutation import all_selections, all_sets, gumbel_top_k, log_prob

NEVER = torch.tensor([-torch.inf], dtype=torch.float64)
EVERY = all_selections(4, 2, stopping=False)
# Passage 2 alone holds the answer, plainly; passage 0 disputes it.
LOG_A = torch.tensor([-torch.inf, -torch.inf, 1.0, -torch.inf], dtype=torch.float64)
LOG_B = torch.tensor([2.0, 0.0, 1.2, -1.0], dtype=torch.float64)
LIKELIHOODS = set_log_likelihood(LOG_A, LOG_B, EVERY)


def prior(scores: torch.Tensor) -> torch.Tensor:
    return log_prob(torch.cat([scores, NEVER]), EVERY)


def test_likelihood_by_hand() -> None:
    sets = torch.tensor([[2, 1], [0, 1], [2, -1]])
    found = set_log_likelihood(LOG_A, LOG_B, sets).exp()
    e = math.e
    assert found.tolist() == pytest.approx([e / (e**1.2 + 1), 0, e / e**1.2])
    silent = set_log_likelihood(LOG_A, LOG_B, sets, log_c=0.0).exp()
    assert silent[2].item() == pytest.approx(e / (e**1.2 + 1))
    with pytest.raises(InputError, match="between 0 and 1"):
        set_log_likelihood(LOG_B + 1, LOG_B, sets)


def test_likelihoods_gradient_is_zero_where_nothing_holds_the_answer() -> None:
    log_b = LOG_B.clone().requires_grad_()
    found = set_log_likelihood(LOG_A, log_b, EVERY)
    reader_loss(sample_weights(found.detach()), found).backward()
    assert log_b.grad is not None
    assert torch.isfinite(log_b.grad).all()
    # What disputes the answer loses, in what is read with it.
    assert log_b.grad[0] > 0


# By sets, and by a reader to whom the order is all: (a, b) may be right and (b, a) impossible.
by_order = st.lists(st.floats(-6, 0) | st.just(-math.inf), min_size=12, max_size=12).filter(
    lambda each: max(each) > -math.inf
)
explained = st.just(LIKELIHOODS) | by_order.map(lambda e: torch.tensor(e, dtype=torch.float64))
scored = st.lists(st.floats(-3, 3), min_size=4, max_size=4)


@settings(deadline=None)
@given(scored, explained)
def test_the_posterior_makes_the_bound_tight(scores: list[float], log_y: torch.Tensor) -> None:
    log_p = prior(torch.tensor(scores, dtype=torch.float64))
    q = posterior(log_p, log_y)
    torch.testing.assert_close(q, log_p.exp() * log_y.exp() / (log_p.exp() @ log_y.exp()))
    whole = log_marginal(log_p, log_y).item()
    assert elbo(q, log_p, log_y).item() == pytest.approx(whole)
    uniform = (-torch.inf < log_y).double()
    uniform /= uniform.sum()
    assert elbo(uniform, log_p, log_y).item() <= whole + 1e-9


@settings(deadline=None)
@given(scored, explained)
def test_the_selectors_gradient_is_that_of_the_marginal(
    scores: list[float], log_y: torch.Tensor
) -> None:
    """With the posterior as weights, -Σ w log p(z) falls as log Σ p(z) p(y | z) rises."""
    one = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    other = one.detach().clone().requires_grad_()
    log_p = prior(one)
    selector_loss(posterior(log_p, log_y).detach(), log_p).backward()
    (-log_marginal(prior(other), log_y)).backward()
    torch.testing.assert_close(one.grad, other.grad)


def climb(log_y: torch.Tensor, scores: list[float], steps: int) -> tuple[list[float], torch.Tensor]:
    """The bound after whole E-steps and M-steps small enough, and the scores in the end."""
    now = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    seen = []
    for _ in range(steps):
        log_p = prior(now)
        q = posterior(log_p, log_y).detach()
        seen.append(elbo(q, log_p, log_y).item())
        (slope,) = torch.autograd.grad(selector_loss(q, log_p), now)
        now = (now - 0.5 * slope).detach().requires_grad_()
    return seen, now


@settings(deadline=None, max_examples=30)
@given(scored, explained)
def test_em_never_makes_the_marginal_worse(scores: list[float], log_y: torch.Tensor) -> None:
    seen, _ = climb(log_y, scores, 12)
    assert all(later >= former - 1e-9 for former, later in pairwise(seen))


def test_em_puts_the_answers_passage_first() -> None:
    seen, scores = climb(LIKELIHOODS, [0.0] * 4, 120)
    assert seen[-1] > seen[0] + 0.5
    assert scores.argmax().item() == 2


@settings(deadline=None)
@given(st.lists(st.floats(-20, 0) | st.just(-math.inf), min_size=2, max_size=6))
def test_each_against_the_others(log_y: list[float]) -> None:
    p = [math.exp(each) for each in log_y]
    found = leave_one_out(sample_weights(torch.tensor(log_y, dtype=torch.float64))).tolist()
    for i, mine in enumerate(p):
        others = [each for j, each in enumerate(p) if j != i]
        expected = (mine - sum(others) / len(others)) / sum(p) if sum(p) else 0.0
        assert found[i] == pytest.approx(expected, abs=1e-9)
    assert leave_one_out(torch.ones(1)).item() == 0


def test_against_the_others_the_gradient_has_no_bias() -> None:
    """Over all pairs of selections that could be drawn: Σ (p_i - p_j) ∇ log p(z_i) / 2 is ∇ p(y | x)."""
    scores = torch.tensor([0.5, 0.2, -0.5, 0.0], dtype=torch.float64, requires_grad=True)
    log_p = prior(scores)
    p, y = log_p.exp().detach(), LIKELIHOODS.exp()
    slopes = torch.stack([torch.autograd.grad(e, scores, retain_graph=True)[0] for e in log_p])
    mean = torch.zeros_like(scores)
    for i in range(len(p)):
        for j in range(len(p)):
            both = LIKELIHOODS[[i, j]]
            weights = leave_one_out(sample_weights(both)) * both.exp().sum() / 2
            mean = mean + p[i] * p[j] * (weights[0] * slopes[i] + weights[1] * slopes[j])
    exact = torch.autograd.grad(log_p.exp() @ y, scores)[0]
    torch.testing.assert_close(mean.detach(), exact)


@pytest.mark.parametrize("m", [2, 4, 8])
def test_drawn_selections_estimate_the_gradient(m: int) -> None:
    """Self-normalised weights are biased for small m and point the same way; centring keeps them so."""
    scores = torch.tensor([0.5, 0.2, -0.5, 0.0], dtype=torch.float64, requires_grad=True)
    exact = torch.autograd.grad(log_marginal(prior(scores), LIKELIHOODS), scores)[0]
    generator = torch.Generator().manual_seed(m)
    slopes = []
    for _ in range(600):
        drawn = gumbel_top_k(scores, 2, m, generator)
        weights = sample_weights(set_log_likelihood(LOG_A, LOG_B, drawn))
        loss = selector_loss(centred(weights), log_prob(torch.cat([scores, NEVER]), drawn))
        slopes.append(-torch.autograd.grad(loss, scores)[0])
    mean = torch.stack(slopes).mean(0)
    assert torch.cosine_similarity(mean, exact, dim=0).item() > 0.9


def test_one_selection_says_nothing_once_it_is_centred() -> None:
    weights = sample_weights(torch.tensor([[-3.0]]))
    assert weights.item() == 1
    assert centred(weights).item() == 0


def test_where_no_selection_gives_the_answer() -> None:
    never = torch.full((2, 3), -torch.inf)
    never[1, 0] = -1.0
    weights = sample_weights(never)
    assert weights.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert centred(weights)[0].tolist() == [0, 0, 0]
    assert torch.isfinite(reader_loss(weights, never))
    assert sampled_log_marginal(never).tolist() == pytest.approx([-torch.inf, -1 - math.log(3)])


def test_every_set_of_twenty_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    log_b = torch.randn(20, generator=generator, dtype=torch.float64)
    log_a = log_b - torch.rand(20, generator=generator, dtype=torch.float64) * 5
    sets = all_sets(20, 5)
    found = set_log_likelihood(log_a, log_b, sets)
    one = sets[1234]
    assert found[1234].item() == pytest.approx(
        (log_a[one].logsumexp(0) - log_b[one].logsumexp(0)).item()
    )


def test_an_m_step_on_selections_that_stay_needs_the_weights_as_they_are() -> None:
    """Weighed as they are the best selector draws each as often as it weighs; centred there is none."""
    drawn = EVERY[:3]
    weights = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    losses = {}
    for name, given_weights in (("told", told(weights)), ("centred", centred(weights))):
        logits = torch.zeros(len(EVERY), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([logits], lr=0.1)
        for _ in range(600):
            loss = selector_loss(given_weights, logits.log_softmax(0)[: len(drawn)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses[name] = loss.item()
        if name == "told":
            assert logits.softmax(0)[:3].tolist() == pytest.approx(weights.tolist(), abs=0.01)
    assert losses["told"] == pytest.approx(float(-(weights * weights.log()).sum()), abs=0.01)
    assert losses["centred"] < -10
    assert told(torch.ones(5, 1)).tolist() == [[0.0]] * 5
