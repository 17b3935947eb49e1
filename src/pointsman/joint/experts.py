"""Which expert encoder embeds the question, as a part of what is latent: a router that learns from answers.

With e the expert and d_e what a search through it finds, p(y | x) = Σ_e p(e | x) p(y | x, d_e): the
same EM that trains selector and reader (arXiv 2505.03075) trains p(e | x), and nobody says which passage
is relevant. Pure functions; n questions, d features, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pointsman.errors import InputError
from pointsman.select.em import log_marginal, posterior

_STEPS = 40


@dataclass(frozen=True, eq=False)
class ExpertChoice:
    """p(e | x) ∝ exp(w_e · x + b_e), `weight` [E, d] and `bias` [E], of features of `mean` and `scale` [d]."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def log_p(self, features: Tensor) -> Tensor:
        """Log-probabilities [n, E] of the experts."""
        x = (features.double() - self.mean) / self.scale
        return torch.log_softmax(x @ self.weight.T + self.bias, dim=-1)


def fit_experts(
    features: Tensor, log_likelihoods: Tensor, *, l2: float = 1e-2, iterations: int = 10
) -> tuple[ExpertChoice, list[float]]:
    """The choice by EM from features [n, d] and log p(y | x, d_e) [n, E], and the mean log p(y | x), less
    the penalty l2/2 · |W|², before every iteration and after the last one; it never falls.

    A question whose answer no expert finds, -inf throughout, teaches nothing. Raises InputError where all
    are such.
    """
    told = torch.isfinite(log_likelihoods).any(1)
    if not told.any():
        raise InputError("no expert finds the answer to any question")
    x, log_p = features[told].double(), log_likelihoods[told].double()
    mean, scale = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
    experts = log_p.shape[1]
    weight = torch.zeros(experts, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(experts, dtype=torch.float64, requires_grad=True)
    standard = (x - mean) / scale

    def prior() -> Tensor:
        return torch.log_softmax(standard @ weight.T + bias, dim=-1)

    def objective() -> float:
        with torch.no_grad():
            penalty = l2 / 2 * weight.square().sum()
            return float(log_marginal(prior(), log_p).mean() - penalty)

    history = [objective()]
    for _ in range(iterations):
        with torch.no_grad():
            q = posterior(prior(), log_p)
        optimiser = torch.optim.LBFGS(
            [weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe"
        )

        def step(q: Tensor = q, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            optimiser.zero_grad()
            loss = -(q * prior()).sum(1).mean() + l2 / 2 * weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(step)  # type: ignore[no-untyped-call]
        history.append(objective())
    return ExpertChoice(weight.detach(), bias.detach(), mean, scale), history
