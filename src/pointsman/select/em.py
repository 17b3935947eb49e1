"""EM over ordered selections, as in DRO (arXiv 2505.03075): pure functions.

The selection z of passages that the reader sees is latent: p(y | x) = Σ_z p(z | x) p(y | x, d_z).
Estimation weighs m selections that were drawn from the selector, w(z) ∝ p(y | x, d_z), for the
selector is both the prior and what was drawn from. Maximisation takes a step on -Σ w log p(z | x) for
the selector and on -Σ w log p(y | x, d_z) for the reader.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sample_weights(log_likelihoods: Tensor) -> Tensor:
    """Self-normalised weights [..., m] of selections drawn from the selector, from log p(y | x, d_z).

    Where no selection can give the answer (all -inf) no weight carries a signal: all are 0.
    """
    none = torch.isneginf(log_likelihoods).all(-1, keepdim=True)
    safe = torch.where(none, torch.zeros_like(log_likelihoods), log_likelihoods)
    return torch.where(none, torch.zeros_like(safe), safe.softmax(-1))


def centred(weights: Tensor) -> Tensor:
    """w - 1/m: the same gradient in expectation for the selector, and none at all where m = 1.

    A self-normalised weight of one selection is always 1 and would make whatever was drawn likelier;
    Σ_z ∇ log p(z) / m has expectation 0, so that subtracting it only takes noise away. That holds for
    one step on selections that were just drawn. A whole M-step on selections that stay needs the
    weights as they are: the loss of centred ones has no minimum, since making a selection of less than
    1/m ever unlikelier always pays; and where all selections are right they leave nothing but noise.
    Weights that are all 0 stay so.
    """
    m = weights.shape[-1]
    any_left = weights.sum(-1, keepdim=True) > 0
    return torch.where(any_left, weights - 1 / m, weights)


def leave_one_out(weights: Tensor) -> Tensor:
    """(p_i - mean_{j≠i} p_j) / Σ p [..., m]: each selection against the mean of the others, not of all.

    Of self-normalised weights that is m/(m-1) (w - 1/m), so that centring is the same baseline, shrunk by
    what a selection takes away from itself. Without the denominator, over m, its product with
    ∇ log p(z_i) has the gradient of p(y | x) as its mean exactly (Kool et al. 2019). 0 where m = 1.
    """
    m = weights.shape[-1]
    return torch.zeros_like(weights) if m == 1 else centred(weights) * (m / (m - 1))


def told(weights: Tensor) -> Tensor:
    """The weights [..., m] of an M-step on selections that stay: none where m = 1, for one selection is
    no better than itself.
    """
    return torch.zeros_like(weights) if weights.shape[-1] == 1 else weights


def selector_loss(weights: Tensor, log_probs: Tensor) -> Tensor:
    """-Σ w log p(z | x), of weights and log-probabilities [..., m], as a mean over what is before m."""
    return -_weighted(weights, log_probs)


def reader_loss(weights: Tensor, log_likelihoods: Tensor) -> Tensor:
    """-Σ w log p(y | x, d_z), likewise; a selection of weight 0 counts for nothing, also at -inf."""
    return -_weighted(weights, log_likelihoods)


def posterior(log_prior: Tensor, log_likelihoods: Tensor) -> Tensor:
    """p(z | x, y) [..., z] over every selection there is; 0 where none can give the answer."""
    return sample_weights(log_prior + log_likelihoods)


def log_marginal(log_prior: Tensor, log_likelihoods: Tensor) -> Tensor:
    """log Σ_z p(z | x) p(y | x, d_z) [...]."""
    return torch.logsumexp(log_prior + log_likelihoods, dim=-1)


def elbo(q: Tensor, log_prior: Tensor, log_likelihoods: Tensor) -> Tensor:
    """Σ_z q(z) (log p(z | x) + log p(y | x, d_z) - log q(z)) [...]: below `log_marginal`, and equal
    to it where q is the posterior.
    """
    log_q = torch.where(q > 0, q, torch.ones_like(q)).log()
    inside = torch.where(q > 0, log_prior + log_likelihoods - log_q, torch.zeros_like(q))
    return (q * inside).sum(-1)


def sampled_log_marginal(log_likelihoods: Tensor) -> Tensor:
    """log (1/m Σ p(y | x, d_z)) [...] of m selections drawn from the selector: an estimate of
    `log_marginal` from below.
    """
    return torch.logsumexp(log_likelihoods, dim=-1) - math.log(log_likelihoods.shape[-1])


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    held = weights.detach()
    counted = torch.where(held != 0, values, torch.zeros_like(values))
    return (held * counted).sum(-1).mean()
