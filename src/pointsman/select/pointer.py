"""The pointer: scores of candidates that depend on all candidates and on what was chosen already.

Pure functions of tensors and of the head's weights. q counts questions, n candidates, m selections of
a question, k choices, f features of a candidate, h the head's width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from pointsman.errors import ConfigError, SpecialistError
from pointsman.select.permutation import END

# Where stopping is no choice it still is when nobody is left: a score below whatever a candidate has.
_LAST_RESORT = -1e4
LARGEST = 8
"""So many passages are chosen at most: every number has a willingness to stop there of its own."""
# Stopping begins as an unlikely choice: how much is enough is learned from answers.
_LOTH_TO_STOP = -3.0


_OF_STOPPING = ("stop.bias", "stop.all")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates that have seen one another: `states` [q, n, h], `first` [q, n], what each scores
    before anything is chosen, and `there` [q, n], false on padding.
    """

    states: Tensor
    first: Tensor
    there: Tensor

    def rows(self, which: slice | Tensor) -> Candidates:
        """Those of some of the questions."""
        return Candidates(self.states[which], self.first[which], self.there[which])


class PointerHead:
    """A pointer over candidates that attend to one another once (pointer networks, arXiv 1506.03134).

    Weights by name, see `_shapes`: a hidden layer on the features, one block of self-attention over
    the candidates in no order, and three linear maps: of a state to its own score, of what was chosen
    to a query whose product with a state is added to that score, and of the query to the score of
    stopping. Raises SpecialistError where the tensors are not these.
    """

    def __init__(self, tensors: Mapping[str, Tensor], heads: int = 4) -> None:
        self.tensors = dict(tensors)
        self.heads = heads
        found = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        features = found.get("input.weight", (0, 0))[-1]
        width = found.get("score", (0,))[0]
        if not width or width % heads or found != _shapes(features, width):
            raise SpecialistError(
                "a pointer head of features f and width h, a multiple of "
                f"{heads}, has input.weight [h, f], score [h] and what belongs to them; found "
                + (", ".join(f"{name} {list(shape)}" for name, shape in found.items()) or "none")
            )
        self.features = features
        self.width = width

    @classmethod
    def fresh(
        cls, features: int, width: int = 128, generator: torch.Generator | None = None
    ) -> PointerHead:
        """A new head that finds all candidates nearly alike and stops rarely. Raises ConfigError."""
        if features < 1 or width < 4 or width % 4:
            raise ConfigError(
                f"a pointer needs features and a width that is a multiple of 4, not {features} and {width}"
            )
        tensors = {name: torch.zeros(shape) for name, shape in _shapes(features, width).items()}
        for name, tensor in tensors.items():
            if name.endswith("norm"):
                tensor.fill_(1.0)
            elif tensor.ndim == 2:
                tensor.normal_(std=tensor.shape[1] ** -0.5, generator=generator)
        # What adds to a state, and what a choice changes, begins as little.
        for name in ("attention.output", "inner.output", "query.chosen", "query.last"):
            tensors[name].mul_(0.1)
        tensors["score"].normal_(std=0.02, generator=generator)
        tensors["stop.bias"].fill_(_LOTH_TO_STOP)
        return cls(tensors)

    def loth_to_stop(self, nats: float) -> PointerHead:
        """The same with the score of stopping lower by so much at every step."""
        bias = self.tensors["stop.bias"] - nats
        return PointerHead({**self.tensors, "stop.bias": bias}, self.heads)

    def candidates(self, features: Tensor, there: Tensor) -> Candidates:
        """Candidates of features [q, n, f]; `there` [q, n] is false on padding. fp32 throughout."""
        w = {name: tensor.to(features.device).float() for name, tensor in self.tensors.items()}
        with torch.autocast(features.device.type, enabled=False):
            x = gelu(linear(features.float(), w["input.weight"], w["input.bias"]))
            normed = layer_norm(x, x.shape[-1:], w["attention.norm"])
            split = linear(normed, w["attention.input"]).chunk(3, dim=-1)
            q, k, v = (self._split(each) for each in split)
            # A question without candidates attends to padding, and is asked for nothing.
            seen = there | ~there.any(-1, keepdim=True)
            mixed = scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
            x = x + linear(mixed.transpose(1, 2).flatten(-2), w["attention.output"])
            normed = layer_norm(x, x.shape[-1:], w["inner.norm"])
            x = x + linear(gelu(linear(normed, w["inner.input"])), w["inner.output"])
            x = layer_norm(x, x.shape[-1:], w["output.norm"])
            first = (x @ w["score"]).masked_fill(~there, -torch.inf)
        return Candidates(x, first, there)

    def scores(self, candidates: Candidates, selections: Tensor, stopping: bool = True) -> Tensor:
        """Scores [q, m, k, n + 1] of every next choice along `selections` [q, m, k], stopping last.

        The t-th scores follow from the t - 1 choices before; a candidate's own score, before anything
        is chosen, is `first`. Without `stopping` it only happens when nobody is left.
        """
        w = {
            name: tensor.to(candidates.states.device).float()
            for name, tensor in self.tensors.items()
        }
        x, k = candidates.states, selections.shape[-1]
        places = selections.clamp(min=0).flatten(1)
        chosen = x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        chosen = chosen.reshape(*selections.shape, -1) * (selections != END).unsqueeze(-1)
        count = (selections != END).cumsum(-1).clamp(min=1).unsqueeze(-1)
        mean, last = _before(chosen.cumsum(2) / count), _before(chosen)
        query = linear(mean, w["query.chosen"]) + linear(last, w["query.last"])
        pointed = torch.einsum("qmkh,qnh->qmkn", query, x) / math.sqrt(x.shape[-1])
        scores = candidates.first[:, None, None, :] + pointed
        scores = scores.masked_fill(~candidates.there[:, None, None, :], -torch.inf)
        turn = torch.arange(k, device=x.device).clamp(max=LARGEST - 1)
        stop = query @ w["stop.weight"] + w["stop.bias"][turn]
        stop = stop + (_mean(candidates) @ w["stop.all"])[:, None, None]
        if not stopping:
            stop = torch.full_like(stop, _LAST_RESORT)
        return torch.cat([scores, stop.unsqueeze(-1)], dim=-1)

    def sizes(self, candidates: Candidates, k: int) -> Tensor:
        """Scores [q, k] of choosing 1 to k candidates in all, for sets in which order means nothing."""
        w = {name: self.tensors[name].to(candidates.states.device).float() for name in _OF_STOPPING}
        number = torch.arange(1, k + 1, device=candidates.states.device)
        return w["stop.bias"][:k] - number * (_mean(candidates) @ w["stop.all"]).unsqueeze(-1)

    def _split(self, states: Tensor) -> Tensor:
        """[q, n, h] as [q, heads, n, h / heads]."""
        return states.reshape(*states.shape[:-1], self.heads, -1).transpose(1, 2)


def _before(states: Tensor) -> Tensor:
    """What stood one step before [q, m, k, h]: nothing before the first."""
    return torch.cat([torch.zeros_like(states[:, :, :1]), states[:, :, :-1]], dim=2)


def _mean(candidates: Candidates) -> Tensor:
    """The mean state of a question's candidates [q, h]."""
    there = candidates.there.unsqueeze(-1).float()
    return (candidates.states * there).sum(1) / there.sum(1).clamp(min=1)


def _shapes(features: int, width: int) -> dict[str, tuple[int, ...]]:
    """The weights of a head, by name."""
    return {
        "input.weight": (width, features),
        "input.bias": (width,),
        "attention.norm": (width,),
        "attention.input": (3 * width, width),
        "attention.output": (width, width),
        "inner.norm": (width,),
        "inner.input": (2 * width, width),
        "inner.output": (width, 2 * width),
        "output.norm": (width,),
        "score": (width,),
        "query.chosen": (width, width),
        "query.last": (width, width),
        "stop.weight": (width,),
        "stop.bias": (LARGEST,),
        "stop.all": (width,),
    }
