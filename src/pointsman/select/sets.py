"""Sets of passages as a whole: exact probabilities where order does not matter.

p(z) ∝ exp(Σ_{i in z} s_i + t_|z|) over all sets z of one to K of n candidates: a conditional Bernoulli
model with a say in how many. Elementary symmetric polynomials count all sets without listing one. A
passage-wise reader gives every set the same answer in any order, so this is all that there is to learn
for it. Pure functions; q counts questions, scores of -inf are nobody.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb

import torch
from torch import Tensor

from pointsman.errors import ConfigError
from pointsman.select.permutation import END

COUNTABLE = 300_000
"""So many sets of one question's candidates are counted at most: some hundred megabytes while training."""


def log_symmetric(scores: Tensor, k: int) -> Tensor:
    """log e_0 … log e_k [..., k + 1] of exp(scores) [..., n]: e_j sums over all sets of j candidates
    the product of their weights; -inf where there are fewer.
    """
    lowest = torch.finfo(scores.dtype).min / 8  # -inf would give NaN gradients
    safe = scores.clamp(min=lowest)
    log_e = torch.full(
        (*scores.shape[:-1], k + 1), lowest, dtype=scores.dtype, device=scores.device
    )
    log_e[..., 0] = 0
    for i in range(scores.shape[-1]):
        with_i = log_e[..., :-1] + safe[..., i : i + 1]
        log_e = torch.cat([log_e[..., :1], torch.logaddexp(log_e[..., 1:], with_i)], dim=-1)
    return torch.where(log_e > lowest / 2, log_e, -torch.inf)


def log_normaliser(scores: Tensor, sizes: Tensor) -> Tensor:
    """log Σ_z exp(Σ s_i + t_|z|) [q] over sets of 1 to K, from scores s [q, n] and sizes t [q, K].

    Its gradient by a score is how likely that candidate is chosen.
    """
    counts = log_symmetric(scores, sizes.shape[-1])[..., 1:]
    return torch.logsumexp(counts + sizes, dim=-1)


def log_prob(scores: Tensor, sizes: Tensor, sets: Tensor) -> Tensor:
    """Log-probabilities [q, m] of sets [m, K] or [q, m, K] of places, -1 after the end, in any order.

    Every set holds one candidate at least, each once.
    """
    there = sets != END
    each = sets.expand(len(scores), *sets.shape[-2:])
    taken = scores.unsqueeze(1).expand(-1, each.shape[1], -1).gather(2, each.clamp(min=0))
    total = torch.where(there, taken, torch.zeros_like(taken)).sum(-1)
    number = there.sum(-1).expand(len(scores), -1) - 1
    return total + sizes.gather(1, number) - log_normaliser(scores, sizes).unsqueeze(1)


def chances(scores: Tensor, sizes: Tensor) -> Tensor:
    """How likely each candidate is to be in the set [q, n]; they sum to the expected size."""
    with torch.enable_grad():
        asked = scores.detach().requires_grad_()
        total = log_normaliser(asked, sizes.detach()).sum()
        (slope,) = torch.autograd.grad(total, asked)
    return slope


def sample(
    scores: Tensor, sizes: Tensor, m: int, generator: torch.Generator | None = None
) -> Tensor:
    """m sets of each question [q, m, K], rising, -1 after the end.

    The size first, then candidate by candidate from the last: it is in a set of j of the first i
    with probability λ_i e_{j-1} / e_j, both of the candidates before it and with it.
    """
    q, n = scores.shape
    k = sizes.shape[-1]
    scores, sizes = scores.detach().double().cpu(), sizes.detach().double().cpu()
    before = [log_symmetric(scores[:, :i], k) for i in range(n + 1)]
    shares = (before[n][:, 1:] + sizes).softmax(-1)
    left = torch.multinomial(shares, m, replacement=True, generator=generator) + 1
    chosen = torch.full((q, m, k), END)
    for i in range(n - 1, -1, -1):
        without, with_it = (before[at].gather(1, left) for at in (i, i + 1))
        out = (without - with_it).exp().nan_to_num(nan=1.0)
        uniform = torch.rand(q, m, generator=generator, dtype=torch.float64)
        inside = (left > 0) & (uniform >= out)
        rows, columns = torch.nonzero(inside, as_tuple=True)
        chosen[rows, columns, left[rows, columns] - 1] = i
        left = left - inside.long()
    return chosen


def likeliest(scores: Tensor, sizes: Tensor) -> Tensor:
    """The likeliest set of each question [q, K], best candidate first, -1 after the end."""
    k = sizes.shape[-1]
    best = scores.sort(dim=-1, descending=True, stable=True)
    count = min(k, scores.shape[-1])
    top, places = best.values[:, :count], best.indices[:, :count]
    worth = top.cumsum(-1) + sizes[:, :count]
    size = worth.argmax(-1, keepdim=True)
    kept = (torch.arange(count, device=scores.device) <= size) & ~torch.isneginf(top)
    chosen = torch.full((len(scores), k), END, device=scores.device)
    chosen[:, :count] = torch.where(kept, places, END)
    return chosen


def check_countable(candidates: int, k: int) -> None:
    """Raises ConfigError where there are too many sets of 1 to k candidates to count each of them."""
    count = sum(comb(candidates, size) for size in range(1, min(k, candidates) + 1))
    if count > COUNTABLE:
        raise ConfigError(
            f"there are {count:,} sets of up to {k} among {candidates} candidates, too many to count them all; "
            "take fewer candidates or passages, or the policy pointer"
        )


@lru_cache(maxsize=64)
def all_up_to(candidates: int, k: int) -> Tensor:
    """Every set of 1 to k candidates [s, k], each rising, -1 after its end. Raises as `check_countable`."""
    check_countable(candidates, k)
    rows = [
        torch.nn.functional.pad(
            torch.combinations(torch.arange(candidates), size), (0, k - size), value=END
        )
        for size in range(1, min(k, candidates) + 1)
    ]
    return torch.cat(rows)
