"""How well m drawn selections stand for all: bias and variance of EM's gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.selection.lab import Lab
from pointsman.read.likelihood import SpanLikelihood
from pointsman.read.marginal import reader_of
from pointsman.select.em import centred, leave_one_out, posterior, sample_weights
from pointsman.select.passagewise import set_log_likelihood
from pointsman.select.permutation import all_selections, log_prob

SAMPLES = (1, 2, 4, 8, 16)
WEIGHTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "as they are": lambda weights: weights,
    "centred": centred,
    "leave one out": leave_one_out,
}

_NOTHING = 1e-12

_ESTIMATED = 40  # questions whose gradients are looked at
_FEW, _CHOSEN = 6, 3  # candidates and choices that can be counted


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a gradient's estimate, against the exact one of length 1: `bias` and `deviation` are lengths,
    `cosine` is the mean agreement of a single estimate, 0 for one that is nothing.
    """

    bias: float
    deviation: float
    cosine: float


@dataclass(frozen=True, eq=False)
class Counted:
    """Every ordered selection [z, k] of k of n candidates: its log-probability and that one's gradient
    by the scores [z, n].
    """

    selections: Tensor
    log_p: Tensor
    slopes: Tensor

    @classmethod
    def of(cls, scores: Tensor, k: int) -> Counted:
        """By scores [n]."""
        every = all_selections(len(scores), k, stopping=False)
        asked = scores.detach().double().requires_grad_()
        never = torch.full((1,), -torch.inf, dtype=torch.float64)
        log_p = log_prob(torch.cat([asked, never]), every)
        slopes = [torch.autograd.grad(each, asked, retain_graph=True)[0] for each in log_p]
        return cls(every, log_p.detach(), torch.stack(slopes))

    def spread(
        self,
        log_likelihoods: Tensor,
        m: int,
        *,
        weigh: Callable[[Tensor], Tensor] = centred,
        repeats: int = 400,
        seed: int = 0,
    ) -> Spread:
        """Of the gradient of log Σ_z p(z) p(y | d_z), estimated by Σ w ∇ log p(z) over m selections
        drawn, with what `weigh` makes of EM's weights. `log_likelihoods` are of the selections [z].
        """
        likelihoods = log_likelihoods.double()
        # Fisher's identity: the mean of the slopes over the posterior.
        exact = posterior(self.log_p, likelihoods) @ self.slopes
        length = exact.norm()
        if length < _NOTHING:
            return Spread(0.0, 0.0, 0.0)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(
            self.log_p.exp(), repeats * m, replacement=True, generator=generator
        ).reshape(repeats, m)
        weights = weigh(sample_weights(likelihoods[drawn]))
        found = torch.einsum("rm,rmn->rn", weights, self.slopes[drawn])
        mean, norms = found.mean(0), found.norm(dim=1)
        cosines = torch.where(
            norms > _NOTHING,
            (found @ exact) / (norms.clamp(min=_NOTHING) * length),
            torch.zeros_like(norms),
        )
        return Spread(
            float((mean - exact).norm() / length),
            float((found - mean).pow(2).sum(1).mean().sqrt() / length),
            float(cosines.mean()),
        )


def mean_spread(found: Sequence[Spread]) -> Spread:
    """The medians over questions: where the gradient nearly vanishes ratios mean little."""
    columns = np.array([(each.bias, each.deviation, each.cosine) for each in found])
    return Spread(*np.median(columns, axis=0).tolist())


def estimator_table(lab: Lab, seed: int = 0) -> Table:
    """Bias and spread of the gradient that m selections give, against every selection counted."""
    reader = reader_of(lab.fast, lab.reader(seed), lab.settings)
    asked = [each.first(_FEW) for each in lab.bed.dev if len(each.passages) >= _FEW][:_ESTIMATED]
    shares = SpanLikelihood(reader).shares(
        [each.question for each in asked],
        [each.passages for each in asked],
        [each.answers for each in asked],
    )
    # A selector that knows a little: the first candidates are likelier.
    counted = Counted.of(-0.5 * torch.arange(_FEW), _CHOSEN)
    log_likelihoods = [
        set_log_likelihood(
            torch.from_numpy(s.answer), torch.from_numpy(s.all), counted.selections, log_c=0.0
        )
        for s in shares
    ]
    told = [each for each in log_likelihoods if torch.isfinite(each).any()]
    columns: list[Column | str] = [Column("m", decimals=0), "weights"]
    columns += [Column(name, decimals=2) for name in ("bias", "deviation", "cosine")]
    cells: list[list[Cell]] = []
    for m in SAMPLES if told else ():
        for name, weigh in WEIGHTS.items():
            found = mean_spread([counted.spread(each, m, weigh=weigh) for each in told])
            cells.append([m, name, found.bias, found.deviation, found.cosine])
    note = (
        f"Medians over {len(told)} dev questions of {_FEW} candidates, {_CHOSEN} chosen, as shares of the "
        "exact gradient's length; cosine of a single estimate with it. Ours has the exact gradient."
    )
    return Table("The gradient of m drawn selections", columns, cells, [note])
