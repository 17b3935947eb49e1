"""The grade head: features of a pair to log-probabilities of ordered grades."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, logsigmoid, pad, softplus

from pointsman.errors import ConfigError, SpecialistError

HeadKind = Literal["plain", "cumulative", "corn"]

# For messages: w is the hidden width, or the features' where there is no hidden layer.
_LAYOUT: dict[HeadKind, str] = {
    "plain": "output.weight [G, w] and output.bias [G]",
    "cumulative": "output.weight [1, w] and thresholds [G-1]",
    "corn": "output.weight [G-1, w] and output.bias [G-1]",
}


class GradeHead:
    """Probabilities of G ordered grades, lowest first, from features of width d.

    An optional hidden layer, GELU(`hidden.weight` [w, d] · x + `hidden.bias` [w]), and on its
    output, or on the features themselves (w = d), one of three kinds:

    plain: `output.weight` [G, w], `output.bias` [G]; softmax, which knows no order.
    cumulative: `output.weight` [1, w], `thresholds` [G-1]; see `cumulative_log_probabilities`.
    corn: `output.weight` [G-1, w], `output.bias` [G-1]; see `corn_log_probabilities`.

    Raises SpecialistError where the kind is unknown or the tensors are not these.
    """

    def __init__(self, kind: HeadKind, tensors: Mapping[str, Tensor]) -> None:
        if kind not in _LAYOUT:
            raise SpecialistError(f"a grade head is one of {', '.join(_LAYOUT)}, not {kind!r}")
        self.kind = kind
        self.tensors = dict(tensors)
        found = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

        def size(name: str, axis: int) -> int:
            return (found.get(name) or (0,))[axis]

        hidden = size("hidden.bias", 0)
        width = size("hidden.weight" if hidden else "output.weight", -1)
        cuts = size("thresholds" if kind == "cumulative" else "output.bias", 0)
        grades = cuts if kind == "plain" else cuts + 1
        if grades < 2 or found != _shapes(kind, width, grades, hidden):
            raise SpecialistError(
                f"a {kind} grade head of G >= 2 grades has {_LAYOUT[kind]}, and with a hidden layer "
                f"hidden.weight [w, d] and hidden.bias [w]; found {_described(found)}"
            )
        self._grades = grades

    @classmethod
    def fresh(
        cls,
        kind: HeadKind,
        width: int,
        grades: int,
        hidden: int = 0,
        generator: torch.Generator | None = None,
    ) -> GradeHead:
        """A new head with small random weights, close to the uniform distribution.

        `width` is the features' d; `hidden` 0 leaves the hidden layer out. Raises ConfigError for
        an unknown kind, fewer than two grades, and sizes that are not positive.
        """
        if kind not in _LAYOUT:
            raise ConfigError(f"head must be one of {', '.join(_LAYOUT)}, not {kind!r}")
        if grades < 2:
            raise ConfigError(f"a grade head needs two grades or more, not {grades}")
        if width < 1 or hidden < 0:
            raise ConfigError(
                f"width must be 1 or more and hidden 0 or more, not {width} and {hidden}"
            )
        tensors = {
            name: torch.zeros(shape) for name, shape in _shapes(kind, width, grades, hidden).items()
        }
        tensors["output.weight"].normal_(std=0.02, generator=generator)
        if hidden:
            tensors["hidden.weight"].normal_(std=width**-0.5, generator=generator)
        if kind == "cumulative":
            tensors["thresholds"] = _uniform_thresholds(grades)
        elif kind == "corn":
            # Of the m grades from j upward, m - 1 lie above j: odds m - 1 to 1.
            tensors["output.bias"] = torch.arange(grades - 1, 0, -1).log()
        return cls(kind, tensors)

    @property
    def grades(self) -> int:
        """How many grades there are, G."""
        return self._grades

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Log-probabilities of the grades, fp32 [n, G], from features [n, d].

        In fp32 under autocast too: a calibrated probability does not survive eight bits.
        """
        given = {name: t.to(features.device).float() for name, t in self.tensors.items()}
        with torch.autocast(features.device.type, enabled=False):
            states = features.float()
            if "hidden.weight" in given:
                states = gelu(linear(states, given["hidden.weight"], given["hidden.bias"]))
            outputs = linear(states, given["output.weight"], given.get("output.bias"))
            if self.kind == "cumulative":
                return cumulative_log_probabilities(outputs.squeeze(-1), given["thresholds"])
            if self.kind == "corn":
                return corn_log_probabilities(outputs)
            return outputs.log_softmax(-1)


def increasing(thresholds: Tensor) -> Tensor:
    """The thresholds θ [G-1] that a cumulative head's free parameters r [G-1] stand for.

    θ_0 = r_0 and θ_j = θ_{j-1} + softplus(r_j), so that they increase whatever r is.
    """
    return torch.cat([thresholds[:1], softplus(thresholds[1:])]).cumsum(0)


def cumulative_log_probabilities(latent: Tensor, thresholds: Tensor) -> Tensor:
    """Proportional odds (McCullagh 1980): log-probabilities [n, G] from one latent value a row.

    P(y ≤ j) = σ(θ_j - z), with z `latent` [n] and θ = `increasing(thresholds)` [G-1]. The middle
    grades are differences of two such values, which cancel where z is far away. But
    σ(a) - σ(b) = σ(a) · σ(-b) · (1 - e^{b-a}), and with a - b = softplus(r) the last factor is
    σ(r): three logarithms to add, each finite.
    """
    below = increasing(thresholds) - latent.unsqueeze(-1)
    return (
        pad(logsigmoid(below), (0, 1))
        + pad(logsigmoid(-below), (1, 0))
        + pad(logsigmoid(thresholds[1:]), (1, 1))
    )


def corn_log_probabilities(logits: Tensor) -> Tensor:
    """CORN (arXiv 2111.08851): log-probabilities [n, G] from conditional logits f [n, G-1].

    σ(f_j) = P(y > j | y ≥ j), so P(y = j) = Π_{k<j} σ(f_k) · (1 - σ(f_j)), and without the last
    factor for the highest grade.

    For a hard label y, -log P(y) is the sum of the binary cross-entropies of "y > j" over the j
    with y ≥ j: the conditional tasks of CORN's loss. That loss divides by the number of
    (row, task) pairs, where cross-entropy divides by the number of rows.
    """
    passed = pad(logsigmoid(logits), (1, 0)).cumsum(-1)
    return passed + pad(logsigmoid(-logits), (0, 1))


def interpolate(first: GradeHead, second: GradeHead, alpha: float) -> GradeHead:
    """A head of the weights (1 - α) · first + α · second, fp32 and without gradients.

    α = 0 is the first exactly, 1 the second. A cumulative head's thresholds still increase, since
    it is their free parameters that are mixed. Raises ConfigError where α lies outside [0, 1], or
    the heads differ in kind or in shape.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie between 0 and 1, not {alpha}")
    one, other = (
        {name: tuple(tensor.shape) for name, tensor in head.tensors.items()}
        for head in (first, second)
    )
    if first.kind != second.kind or one != other:
        raise ConfigError(
            f"only heads of one kind and shape can be interpolated, not {first.kind} with "
            f"{_described(one)} and {second.kind} with {_described(other)}"
        )
    mixed = {
        name: torch.lerp(
            tensor.detach().float(), second.tensors[name].detach().to(tensor.device).float(), alpha
        )
        for name, tensor in first.tensors.items()
    }
    return GradeHead(first.kind, mixed)


def _shapes(kind: HeadKind, width: int, grades: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a head, by name."""
    cuts = grades if kind == "plain" else grades - 1
    shapes: dict[str, tuple[int, ...]] = {
        "output.weight": (1 if kind == "cumulative" else cuts, hidden or width),
        "thresholds" if kind == "cumulative" else "output.bias": (cuts,),
    }
    if hidden:
        shapes |= {"hidden.weight": (hidden, width), "hidden.bias": (hidden,)}
    return shapes


def _uniform_thresholds(grades: int) -> Tensor:
    """Free parameters of the thresholds that make all grades equally likely at latent 0."""
    shares = [j / grades for j in range(1, grades)]
    thresholds = [math.log(share / (1 - share)) for share in shares]
    gaps = [high - low for low, high in pairwise(thresholds)]
    # The inverse of softplus.
    return torch.tensor([thresholds[0], *(math.log(math.expm1(gap)) for gap in gaps)])


def _described(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
