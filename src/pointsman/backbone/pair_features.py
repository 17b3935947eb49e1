"""What a grade head looks at: a question and a passage, read together, each as the mean of its tokens.

Pure functions of token states.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def pair_features(states: Tensor, mask: Tensor, passage: Tensor) -> Tensor:
    """[u, v, |u - v|, u · v] of each pair, fp32 [n, 4d], from token states [n, length, d].

    u is the mean state of the question's tokens (`mask` but not `passage`, special tokens among
    them), v of the passage's, both of length √d so that entries are about 1. The differences and
    products are those of sentence pairs in InferSent (arXiv 1705.02364); here both sides have
    attended to one another. A passage without tokens gives v = 0.
    """
    question = mask.bool() & ~passage
    u, v = (_mean(states.float(), tokens) for tokens in (question, passage))
    return torch.cat([u, v, (u - v).abs(), u * v], dim=-1)


def feature_width(width: int) -> int:
    """How many features a pair has on a backbone of width d."""
    return 4 * width


def _mean(states: Tensor, tokens: Tensor) -> Tensor:
    weights = tokens.to(states.dtype).unsqueeze(-1)
    mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)
    return torch.nn.functional.normalize(mean, dim=-1) * math.sqrt(states.shape[-1])
