"""From token states to one vector a text, as pure functions of tensors.

`states` is [n, length, d]; `mask` is [n, length], 1 on real tokens and 0 on padding (right-padded).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def cls(states: Tensor, mask: Tensor) -> Tensor:
    """The first token's state."""
    return states[:, 0]


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def mean_sqrt_len_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """The sum over real tokens divided by the square root of their number."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9).sqrt()


def maximum(states: Tensor, mask: Tensor) -> Tensor:
    """The maximum over real tokens, dimension by dimension."""
    return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


def weighted_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean with weights 1, 2, 3, … by position (SGPT, arXiv 2202.08904, eq. 2)."""
    positions = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
    weights = (mask.to(states.dtype) * positions).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def last_token(states: Tensor, mask: Tensor) -> Tensor:
    """The last real token's state."""
    last = mask.sum(1).long().clamp(min=1) - 1
    return states[torch.arange(states.shape[0], device=states.device), last]


POOLING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": cls,
    "max": maximum,
    "mean": mean,
    "mean_sqrt_len_tokens": mean_sqrt_len_tokens,
    "weightedmean": weighted_mean,
    "lasttoken": last_token,
}


def pool(states: Tensor, mask: Tensor, modes: tuple[str, ...]) -> Tensor:
    """Pool in fp32 by each mode and concatenate: [n, d · len(modes)]."""
    states = states.float()
    return torch.cat([POOLING[mode](states, mask) for mode in modes], dim=-1)
