"""Faster ways through a frozen encoder on a CPU; the modules and weights stay.

Three things cost more than they must in a plain forward pass:

- PyTorch gives fp32 products to MKL, which holds back on processors that are not Intel's; oneDNN,
  which is built in too, uses the widest vectors of each (2.2 times the rate on an AMD EPYC).
- The fused attention kernel multiplies bf16 hardly faster than fp32. Batched products in bf16,
  over as few rows as the cache holds, are faster; and padding need not be attended to or from.
- glibc gives large blocks back to the system as soon as they are free, and the next one comes
  page by page: half of the time of a pass may go into that.

Where gradients are needed the modules do what they always did. Attention over short texts is written out in
as few passes over its scores as there can be, for the fused kernel takes up to six times as long there;
over long ones it goes both ways over as many heads as the cache holds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# transformers' name of the attention that is defined here.
ATTENTION = "pointsman-cpu"
# The families whose attention goes through transformers' interface and sees the whole text.
_FAMILIES = {"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"}
# Attention scores computed at once: as many as fit into the processors' own caches.
_SCORES = 1 << 20
# Texts from which on the scores are computed again faster than they are fetched from memory.
_LONG = 192
_FAST = (torch.float32, torch.bfloat16)
# glibc's numbers of what may be set with mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# bf16 numbers in a vector of 512 bits.
_VECTOR = 32


class OneDnnLinear(nn.Linear):
    """A linear layer that multiplies with oneDNN when no gradient is asked for."""

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Linear: [..., in] to [..., out]."""
        if torch.is_grad_enabled() or input.dtype != self.weight.dtype or input.numel() == 0:
            return super().forward(input)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, "none", [], ""
        )
        return out


class InPlaceGelu(nn.Module):
    """GELU in the memory of its input when no gradient is asked for."""

    def forward(self, input: Tensor) -> Tensor:
        """GELU, elementwise; `input` is gone afterwards."""
        if torch.is_grad_enabled():
            return nn.functional.gelu(input)
        out: Tensor = torch.ops.aten.gelu_(input)
        return out


def attention_for(model_type: str, dtype: torch.dtype) -> str | None:
    """transformers' name of the best attention on a CPU for a family, None for its own choice."""
    if model_type not in _FAMILIES or dtype not in _FAST:
        return None
    _register()
    return ATTENTION


def speed_up(model: nn.Module) -> None:
    """Let a model's linear layers and activations take the faster ways, where this PyTorch has them."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear and _has_onednn() and module.weight.dtype in _FAST:
            module.__class__ = OneDnnLinear
        # Its input is what the linear layer before it has just made, and nobody else's.
        if name.endswith("intermediate.intermediate_act_fn") and _is_gelu(module):
            model.set_submodule(name, InPlaceGelu())


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to 1 GiB, for the next pass; once for the whole process.

    Does nothing with another C library, or where the environment says how to allocate.
    """
    tuned = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if not sys.platform.startswith("linux") or tuned:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        mallopt(_MMAP_THRESHOLD, 32 << 20)


def _has_onednn() -> bool:
    return (
        bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _is_gelu(module: nn.Module) -> bool:
    return getattr(module, "act", None) is nn.functional.gelu


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, _padding_mask)


def _padding_mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """The mask [n, length] itself: which tokens are real is all that attention needs to know."""
    return attention_mask


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """softmax(scaling · q kᵀ) v for heads [n, heads, length, d]; gives [n, length, heads, d].

    `attention_mask` [n, length] is 1 on real tokens, which come first in every row. What padding
    attends to is left zero where no gradient is needed, and means nothing where one is. Signature and
    return are those of transformers' attention interface.
    """
    n, heads, length, width = query.shape
    scale = width**-0.5 if scaling is None else scaling
    lengths = [length] * n if attention_mask is None else attention_mask.sum(1).tolist()
    learned = any(each.requires_grad for each in (query, key, value))
    if torch.is_grad_enabled() and learned:
        return _attend_learning(query, key, value, lengths, scale, dropout), None
    out = query.new_empty(n, length, heads, width)
    for rows in _chunks(lengths, _SCORES // heads):
        longest = max(lengths[rows])
        # Texts of a vector's length or less are too little work to be worth three steps.
        by_products = query.dtype == torch.bfloat16 and longest > _VECTOR
        attend = _attend_bf16 if by_products else _attend
        q, k, v = (each[rows, :, :longest] for each in (query, key, value))
        out[rows, :longest] = attend(q, k, v, lengths[rows], scale).transpose(1, 2)
        out[rows, longest:] = 0
    return out, None


def _attend(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], scale: float) -> Tensor:
    """Attention of [m, heads, longest, d] by PyTorch's fused kernel; without a mask it is faster."""
    mask = None
    if min(lengths) < q.shape[2]:
        mask = _real(lengths, q.shape[2])
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def _attend_bf16(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], scale: float) -> Tensor:
    """Attention of [m, heads, longest, d] by batched products and a softmax."""
    queries, keys, values, ends = _by_heads(q, k, v, lengths, scale)
    return torch.bmm(_weights(queries, keys, ends), values).view(q.shape)


def _attend_learning(
    q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], scale: float, dropout: float
) -> Tensor:
    """Attention with gradients, of [n, heads, length, d]: [n, length, heads, d].

    Queries are scaled, not the many scores, and padding is masked only where there is some.
    """
    # Autocast would turn the many scores into fp32 for the softmax, and back.
    with torch.autocast(q.device.type, enabled=False):
        if not dropout and q.shape[2] >= _LONG:
            return _Attention.apply(q, k, v, lengths, scale)  # type: ignore[no-any-return, no-untyped-call]
        scores = (q * scale) @ k.transpose(2, 3)
        if min(lengths) < q.shape[2]:
            # A softmax sends nothing back to where it gives 0, so that no gradient need know of it.
            scores.detach().masked_fill_(~_real(lengths, q.shape[2]), float("-inf"))
        weights = torch.softmax(scores, -1)
        if dropout:
            weights = nn.functional.dropout(weights, dropout)
        return (weights @ v).transpose(1, 2)


class _Attention(torch.autograd.Function):
    """Attention of as many heads at a time as the cache holds. What each token attends to is computed once
    more on the way back, as in FlashAttention (arXiv 2205.14135): that is faster than fetching it from
    memory, and needs none.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], scale: float
    ) -> Tensor:
        queries, keys, values, ends = _by_heads(q, k, v, lengths, scale)
        out = torch.empty_like(queries)
        for some in _heads(out, keys.shape[1]):
            weights = _weights(queries[some], keys[some], ends[some])
            torch.bmm(weights, values[some], out=out[some])
        ctx.save_for_backward(queries, keys, values, out, ends)
        ctx.scale, ctx.shape = scale, q.shape
        return out.view(q.shape).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, out, ends = ctx.saved_tensors
        n, heads, length, width = ctx.shape
        grad = grad.transpose(1, 2).reshape(out.shape)
        exact = torch.promote_types(grad.dtype, torch.float32)
        # Σ_j w_j (g · v_j) of a token is g · Σ_j w_j v_j.
        mean = (grad.to(exact) * out.to(exact)).sum(-1, keepdim=True).to(grad.dtype)
        d_queries, d_keys, d_values = map(torch.empty_like, (queries, keys, values))
        for some in _heads(out, keys.shape[1]):
            weights = _weights(queries[some], keys[some], ends[some])
            torch.bmm(weights.transpose(1, 2), grad[some], out=d_values[some])
            d_scores = torch.bmm(grad[some], values[some].transpose(1, 2))
            d_scores.sub_(mean[some]).mul_(weights)
            torch.bmm(d_scores, keys[some], out=d_queries[some])
            torch.bmm(d_scores.transpose(1, 2), queries[some], out=d_keys[some])
        d_queries.mul_(ctx.scale)
        d_keys, d_values = (
            each.view(n, heads, -1, width)[:, :, :length] for each in (d_keys, d_values)
        )
        return d_queries.view(ctx.shape), d_keys, d_values, None, None


def _by_heads(
    q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scaled queries [n · heads, length, d], keys and values, padded, and how many of those are real."""
    n, heads, length, width = q.shape
    queries = torch.mul(q, scale, out=q.new_empty(q.shape)).view(-1, length, width)
    # The softmax is 1.5 times slower over rows that are no whole number of vectors.
    padded = -(-length // _VECTOR) * _VECTOR
    keys, values = k.new_zeros(2, n, heads, padded, width)
    keys[:, :, :length] = k
    values[:, :, :length] = v
    ends = torch.tensor(lengths).repeat_interleave(heads)
    return queries, keys.view(-1, padded, width), values.view(-1, padded, width), ends


def _heads(queries: Tensor, keys: int) -> Iterator[slice]:
    """Runs of texts' heads, of queries [n · heads, length, d], whose scores of so many keys fit the cache."""
    step = max(1, _SCORES // (queries.shape[1] * keys))
    return (slice(i, i + step) for i in range(0, len(queries), step))


def _weights(queries: Tensor, keys: Tensor, ends: Tensor) -> Tensor:
    """What each of the queries [m, length, d] attends to of the keys, those before `ends` [m]."""
    scores = torch.bmm(queries, keys.transpose(1, 2))
    shortest = int(ends.min())
    if shortest < keys.shape[1]:
        beyond = torch.arange(shortest, keys.shape[1]) >= ends[:, None]
        scores[..., shortest:].masked_fill_(beyond[:, None], float("-inf"))
    return torch.softmax(scores, -1)


def _real(lengths: Sequence[int], longest: int) -> Tensor:
    """Which keys are real tokens: [m, 1, 1, longest]."""
    return (torch.arange(longest) < torch.tensor(lengths)[:, None])[:, None, None]


def _chunks(lengths: Sequence[int], budget: int) -> Iterator[slice]:
    """Runs of rows whose rows · longest² is at most `budget`, or of a single row."""
    start = 0
    while start < len(lengths):
        stop, longest = start + 1, lengths[start]
        while stop < len(lengths):
            longest = max(longest, lengths[stop])
            if (stop + 1 - start) * longest * longest > budget:
                break
            stop += 1
        yield slice(start, stop)
        start = stop
