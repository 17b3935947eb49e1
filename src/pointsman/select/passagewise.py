"""A reader that looks at one passage at a time tells the likelihood of every selection after one read.

With a_i the summed unnormalised probability of the answer's spans in passage i, b_i that of all its
spans, and c that of no answer, p(y | x, d_z) = Σ_{i in z} a_i / (c + Σ_{i in z} b_i): reading n passages
once prices all n over k sets of them, in place of k passages for each of m that are drawn. The order
of a selection does not matter to such a reader.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pointsman.errors import InputError


def set_log_likelihood(
    log_a: Tensor, log_b: Tensor, sets: Tensor, log_c: float = -math.inf
) -> Tensor:
    """log p(y | x, d_z) [s] of sets [s, k] of passages with log a and log b [n]; -1 in a set is nobody.

    -inf where no passage of a set holds the answer. Raises InputError where some a_i is above its b_i,
    or is NaN.
    """
    if not (log_a <= log_b + 1e-4).all():
        raise InputError("the answer's share of a passage's spans lies between 0 and 1")
    if not len(log_a):
        return log_a.new_full((len(sets),), -torch.inf)
    there = sets >= 0
    places = sets.clamp(min=0)
    nothing = torch.full((), -torch.inf, dtype=log_a.dtype, device=log_a.device)
    above = torch.where(there, log_a[places], nothing)
    below = torch.where(there, log_b[places], nothing)
    silence = below.new_full((len(sets), 1), log_c)
    return _logsumexp(above) - _logsumexp(torch.cat([below, silence], dim=1))


def _logsumexp(values: Tensor) -> Tensor:
    """Over the last axis; the gradient of a row that is -inf throughout is 0 in place of NaN."""
    none = torch.isneginf(values).all(-1, keepdim=True)
    safe = torch.where(none, torch.zeros_like(values), values)
    return torch.where(none.squeeze(-1), -torch.inf, safe.logsumexp(-1))
