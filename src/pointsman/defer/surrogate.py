"""Losses that a rejector is trained by: convex or nearly, and consistent with the Bayes allocation.

A rejector scores agents, r [n, A]; costs [n, A] are those of `defer.cost`. Pure functions of tensors.
Source of the first ones: Learning to Defer for extractive question answering, arXiv 2410.15761.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pointsman.errors import ConfigError

Weights = Literal["printed", "shifted"]


def comp_sum(scores: Tensor, u: float) -> Tensor:
    """Φ^u(r, x, j) [n, A] of every agent j, by v_j = Σ_{k≠j} exp(r_k - r_j).

    log(1 + v) at u = 1 (logistic), else ((1 + v)^{1-u} - 1) / (1 - u): u = 0 is the sum-exponential
    loss, u = 2 the mean absolute error 1 - p_j. Since 1 + v = 1 / softmax(r)_j, all of them follow from
    the log-softmax. Raises ConfigError where u is negative or no number.
    """
    if not 0 <= u < float("inf"):
        raise ConfigError(f"u must be 0 or more, not {u}")
    surprise = -scores.log_softmax(-1)
    if u == 1:
        return surprise
    return torch.expm1((1 - u) * surprise) / (1 - u)


def weights(costs: Tensor, kind: Weights) -> Tensor:
    """How much choosing agent j is to be rewarded [n, A].

    printed: Σ_{i≠j} c_i, as in the paper. shifted: max_i c_i - c_j, which differs from it by a constant
    of the row and so keeps the order of the agents; but the dearest agent of a row gets none, where as
    printed with many agents all get nearly the same.
    """
    if kind == "printed":
        return costs.sum(-1, keepdim=True) - costs
    return costs.max(-1, keepdim=True).values - costs


def deferral(scores: Tensor, costs: Tensor, u: float = 1.0, kind: Weights = "printed") -> Tensor:
    """The mean over rows of Σ_j weight_j · Φ^u(r, x, j) (equation 8 of the paper)."""
    return (weights(costs, kind) * comp_sum(scores, u)).sum(-1).mean()


def picce(scores: Tensor, costs: Tensor) -> Tensor:
    """Pick the confident and correct expert (after arXiv 2602.17144): one agent is rewarded a row.

    The one of the largest (max c - c_j) · softmax(r)_j: right, cheap, and the rejector is sure of it.
    The paper's losses train a classifier with its experts and know no costs; here, where all answers
    are agents', it is the idea of them.
    """
    stakes = weights(costs, "shifted")
    surest = (stakes * scores.detach().softmax(-1)).argmax(-1, keepdim=True)
    reward = (stakes * -scores.log_softmax(-1)).gather(-1, surest)
    return reward.mean()


def margins(costs: Tensor, power: float = 1 / 3) -> Tensor:
    """Margins ρ [A], mean 1: the more there is to gain by an agent, the wider its margin.

    Its gain is Σ max c - c_j over the rows, its share in the loss, where classes have their counts. A bound
    that grows with Σ_j gain_j / ρ_j² is least at ρ_j ∝ gain_j^{1/3} where the margins' sum is given (after
    arXiv 2502.10381, by the same authors). Continuous in the costs: nothing hangs on who is the best by
    however little, so a tiny price changes little.
    """
    gains = weights(costs, "shifted").double().sum(0)
    rho = (gains + 1) ** power
    return (rho / rho.mean()).to(costs.dtype)


def mild(scores: Tensor, costs: Tensor, rho: Tensor) -> Tensor:
    """Margin-based imbalanced learning to defer (after arXiv 2604.27723), with margins ρ [A].

    Σ_j (max c - c_j) · log Σ_k exp((r_k - r_j) / ρ_j): cost-sensitive, with an agent's own margin. A narrow
    one makes steep what is lost where its agent is not chosen, and so keeps agents that are seldom worth
    it from being drowned; Bayes-consistent only where all margins are alike. Its authors' exact losses
    were not at hand; this follows their abstract and their earlier margins of classes.
    """
    against = (scores.unsqueeze(-2) - scores.unsqueeze(-1)) / rho.unsqueeze(-1)
    return (weights(costs, "shifted") * against.logsumexp(-1)).sum(-1).mean()
