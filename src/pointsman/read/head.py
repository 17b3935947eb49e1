"""The span head: two logits a token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pointsman.errors import SpecialistError

# Low enough that softmax gives exactly 0, finite so that 0 · logit stays 0 in the loss.
BLOCKED = -1e4


class SpanHead:
    """Start and end logits by one linear layer, from `weight` [2, d] and `bias` [2]."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)
        if {k: v.ndim for k, v in self.tensors.items()} != {"weight": 2, "bias": 1}:
            raise SpecialistError("a span head has a weight [2, d] and a bias [2]")

    @classmethod
    def fresh(cls, width: int, generator: torch.Generator | None = None) -> SpanHead:
        """A new head with small random weights."""
        weight = torch.empty(2, width).normal_(std=0.02, generator=generator)
        return cls({"weight": weight, "bias": torch.zeros(2)})

    def logits(self, states: Tensor, choosable: Tensor) -> tuple[Tensor, Tensor]:
        """Start and end logits [rows, length] in fp32; tokens that are not choosable get BLOCKED.

        `states` [rows, length, d]; `choosable` [rows, length] true on the passage and on token 0.
        """
        weight = self.tensors["weight"].to(states.device)
        bias = self.tensors["bias"].to(states.device)
        logits = torch.nn.functional.linear(states.float(), weight.float(), bias.float())
        logits = logits.masked_fill(~choosable.unsqueeze(-1), BLOCKED)
        return logits[..., 0], logits[..., 1]


def choosable(passage: Tensor) -> Tensor:
    """Where an answer may begin or end, token 0 ("no answer") included: [rows, length]."""
    allowed = passage.clone()
    allowed[:, 0] = True
    return allowed
