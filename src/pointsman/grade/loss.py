"""The grader's losses, as pure functions of log-probabilities and targets.

`log_p` [n, G] are a head's log-probabilities of G ordered grades, lowest first, all finite;
`targets` [n, G] are distributions, one-hot or shared between grades. Losses are scalars, in nats,
averaged over the n rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from pointsman.errors import ConfigError, InputError

Direction = Literal["forward", "reverse"]
"""Which way the divergence is taken: "forward" is KL(prior ‖ p), "reverse" is KL(p ‖ prior)."""


def soft_targets(scores: Tensor, levels: Sequence[float]) -> Tensor:
    """Ratings [n] as distributions over the two grades that each lies between: fp32 [n, G].

    `levels` are the G values of the grades on the raters' scale, increasing. A rating s with
    l_j ≤ s ≤ l_{j+1} gives grade j+1 the share (s - l_j) / (l_{j+1} - l_j) and grade j the rest, so
    that the mean of the levels is the rating; a rating outside the levels goes to the nearest one.
    Raises ConfigError where levels do not increase or are fewer than two, InputError where a rating
    is not finite.
    """
    values = torch.tensor(levels, dtype=torch.float32, device=scores.device)
    if len(values) < 2 or not (values.isfinite().all() and (values.diff() > 0).all()):
        raise ConfigError(
            f"levels {list(levels)} do not increase; give two finite values or more, one a grade, "
            "lowest first"
        )
    if not torch.isfinite(scores).all():
        raise InputError("a rating is not a finite number; leave out pairs that nobody rated")
    rating = scores.float().clamp(values[0], values[-1])
    upper = torch.searchsorted(values, rating).clamp(min=1)
    share = (rating - values[upper - 1]) / (values[upper] - values[upper - 1])
    targets = rating.new_zeros(len(rating), len(values))
    targets.scatter_(1, (upper - 1).unsqueeze(1), (1 - share).unsqueeze(1))
    return targets.scatter_(1, upper.unsqueeze(1), share.unsqueeze(1))


def cross_entropy(log_p: Tensor, targets: Tensor) -> Tensor:
    """Mean of -Σ_j t_j log p_j."""
    return -(targets * log_p).sum(-1).mean()


def smooth_prior(targets: Tensor, rho: float, *, ordinal: bool) -> Tensor:
    """(1 - ρ) · t + ρ · u, a distribution a row: [n, G].

    The symmetric u is uniform over all grades. The ordinal u is Σ_i t_i k_i, where
    k_ij ∝ exp(-|i - j|): grades near the target's get more (the soft ordinal labels of Díaz and
    Marathe, CVPR 2019, with the absolute distance). Both give every grade something, the target's
    own included. Raises ConfigError where ρ lies outside [0, 1].
    """
    _require_share("rho", rho)
    grades = targets.shape[-1]
    if ordinal:
        grade = torch.arange(grades, dtype=targets.dtype, device=targets.device)
        kernel = (-(grade.unsqueeze(1) - grade).abs()).softmax(-1)
        spread = targets @ kernel
    else:
        spread = torch.full_like(targets, 1 / grades)
    return (1 - rho) * targets + rho * spread


def label_smoothing(log_p: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    """Cross-entropy with (1 - ε) · t + ε/G in the target's place (arXiv 1512.00567, section 7).

    Raises ConfigError where ε lies outside [0, 1].
    """
    _require_share("epsilon", epsilon)
    return cross_entropy(log_p, smooth_prior(targets, epsilon, ordinal=False))


def occ_loss(
    log_p: Tensor,
    targets: Tensor,
    *,
    rho: float,
    weight: float,
    direction: Direction,
    ordinal: bool,
) -> Tensor:
    """Over-confidence calibration (OCC) of DaRL, arXiv 2412.12504: CE + λ · KL, λ the `weight`.

    The divergence is between the prediction p and q = `smooth_prior(targets, rho)`: KL(q ‖ p)
    where `direction` is "forward", KL(p ‖ q) where it is "reverse".

    Forward, the loss is label smoothing under another name. With H the entropy,

        CE(t, p) + λ KL(q ‖ p) = (1 + λ) · CE((1 - ε) t + ε u, p) - λ H(q),  ε = λρ / (1 + λ)

    and H(q) does not depend on p. So with the symmetric prior its gradient is (1 + λ) times that of
    `label_smoothing` with this ε. Reverse, it is another loss: it charges p for mass where q has
    little, and is infinite where q has none, which is why ρ = 0 is refused there.

    Raises ConfigError for ρ outside [0, 1], λ negative or not finite, an unknown direction, and
    ρ = 0 in the reverse direction.
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"weight must be a finite number of 0 or more, not {weight}")
    prior = smooth_prior(targets, rho, ordinal=ordinal)
    if direction == "forward":
        divergence = kl_div(log_p, prior, reduction="batchmean")
    elif direction == "reverse":
        if rho == 0:
            raise ConfigError(
                "rho must be above 0 in the reverse direction: without smoothing the prior is 0 off "
                "the target, and KL(p ‖ prior) is infinite"
            )
        divergence = kl_div(prior.log(), log_p, reduction="batchmean", log_target=True)
    else:
        raise ConfigError(
            f"direction must be one of {', '.join(get_args(Direction))}, not {direction!r}"
        )
    return cross_entropy(log_p, targets) + weight * divergence


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must lie between 0 and 1, not {value}")
