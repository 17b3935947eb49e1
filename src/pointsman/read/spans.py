"""The mathematics of spans: scores of all (start, end) pairs, and one distribution over many windows.

A window gives a start logit s_i and an end logit e_j for each of its tokens. Token 0 stands for
"no answer here". A span scores its log-odds against that,

    o(i, j) = s_i + e_j - (s_0 + e_0),    i ≤ j < i + width,

which makes windows comparable: each is measured against its own silence (as BERT's no-answer
score does, arXiv 1810.04805, section 4.3). Over all windows of a question,

    P(i, j) = exp o(i, j) / (1 + Σ exp o),    P(no answer) = 1 / (1 + Σ exp o).
"""

from __future__ import annotations

import torch
from torch import Tensor


def span_log_odds(start: Tensor, end: Tensor, allowed: Tensor, width: int) -> Tensor:
    """Log-odds of every span [windows, length, width]: entry (i, w) is the span of tokens i … i + w.

    `start` and `end` are logits [windows, length]; `allowed` [windows, length] is true on tokens
    that an answer may begin or end on. Impossible spans are -inf.
    """
    length = start.shape[1]
    null = (start[:, 0] + end[:, 0])[:, None, None]
    blocked = torch.finfo(torch.float32).min
    masked_end = end.float().masked_fill(~allowed, blocked)
    padded = torch.nn.functional.pad(masked_end, (0, width - 1), value=blocked)
    ends = padded.unfold(1, width, 1)[:, :length]
    starts = start.float().masked_fill(~allowed, blocked).unsqueeze(-1)
    odds = starts + ends - null
    return odds.masked_fill((starts <= blocked) | (ends <= blocked), float("-inf"))


def joint_log_probabilities(odds: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each of n spans and of "no answer", from the log-odds [n] of all spans.

    log P_k = o_k - log(1 + Σ exp o); the second value is -log(1 + Σ exp o).
    """
    partition = torch.logsumexp(torch.cat([odds, odds.new_zeros(1)]), dim=0)
    return odds - partition, -partition


def window_partition(odds: Tensor) -> Tensor:
    """log Σ exp o over each window's spans [windows], -inf where a window has none."""
    return torch.logsumexp(odds.flatten(1), dim=1)
