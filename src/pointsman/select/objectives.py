"""What a selector learns from: marked passages, weighed selections, or every set at once.

Each is an `Objective` of `select.task`: chooser, candidates, places of questions -> mean loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import torch
from torch import Tensor

from pointsman.select import sets
from pointsman.select.chooser import Chooser
from pointsman.select.em import log_marginal, selector_loss
from pointsman.select.passagewise import set_log_likelihood
from pointsman.select.permutation import END
from pointsman.select.pointer import Candidates

# Of more marked passages the first in the order of retrieval: their orders are 120 at most.
_MOST_MARKED = 5


@dataclass(frozen=True)
class Supervised:
    """The warm-up: each of a question's `positives` should be the first choice, the others apart.

    A question without positives teaches nothing.
    """

    positives: Sequence[Sequence[int]]

    def __call__(self, chooser: Chooser, seen: Candidates, batch: Sequence[int]) -> Tensor:
        """The mean cross-entropy of positives against all that are none."""
        marked = torch.zeros_like(seen.there)
        for row, question in enumerate(batch):
            marked[row, list(self.positives[question])] = True
        others = seen.first.masked_fill(marked, -torch.inf)
        rivals = torch.cat([others, others.new_full((len(others), 1), -1e4)], dim=1).logsumexp(1)
        losses = torch.nn.functional.softplus(rivals.unsqueeze(1) - seen.first)
        each = torch.where(marked, losses, torch.zeros_like(losses)).sum(1) / marked.sum(1).clamp(1)
        return each.sum() / marked.any(1).sum().clamp(min=1)


@dataclass(frozen=True)
class Whole:
    """The warm-up where passages are read together: a question's `positives` should be chosen, all of them in
    whatever order, and nothing after them.

    -log Σ p(z | x) over the orders z, or over as many as may be chosen of more. So a pointer also learns
    what the first choice says of the second, and when to stop. A question without positives teaches nothing.
    """

    positives: Sequence[Sequence[int]]

    def __call__(self, chooser: Chooser, seen: Candidates, batch: Sequence[int]) -> Tensor:
        """The mean over the questions that have positives."""
        width = min(chooser.passages, seen.there.shape[1])
        taught = [row for row, question in enumerate(batch) if self.positives[question]]
        if not taught:
            return seen.first.new_zeros(())
        orders = [self._orders(self.positives[batch[row]], width, chooser) for row in taught]
        most = max(map(len, orders))
        # The first order stands in for those that another question has more of.
        filled = [each + each[:1] * (most - len(each)) for each in orders]
        selections = torch.tensor(filled, device=seen.first.device)
        counted = torch.arange(most) < torch.tensor([len(each) for each in orders])[:, None]
        log_p = chooser.log_prob(seen.rows(torch.tensor(taught)), selections)
        return -log_p.masked_fill(~counted.to(log_p.device), -torch.inf).logsumexp(-1).mean()

    def _orders(
        self, positives: Sequence[int], width: int, chooser: Chooser
    ) -> list[tuple[int, ...]]:
        of = permutations if chooser.policy == "pointer" else combinations
        some = positives[:_MOST_MARKED]
        return [(*each, *(END,) * (width - len(each))) for each in of(some, min(len(some), width))]


@dataclass(frozen=True)
class Weighed:
    """The M-step: of every question `selections` [m, k] with `weights` [m]; see `em.selector_loss`."""

    selections: Sequence[Tensor]
    weights: Sequence[Tensor]

    def __call__(self, chooser: Chooser, seen: Candidates, batch: Sequence[int]) -> Tensor:
        """-Σ w log p(z | x), the mean over the questions."""
        selections = torch.stack([self.selections[i] for i in batch]).to(seen.first.device)
        weights = torch.stack([self.weights[i] for i in batch]).to(seen.first.device)
        return selector_loss(weights, chooser.log_prob(seen, selections))


@dataclass(frozen=True)
class Marginal:
    """Ours: log Σ_z p(z | x) p(y | x, d_z) over every set z, from a passage-wise reader's shares.

    `log_a` and `log_b` [n] of each question; see `select.passagewise`. The gradient is that of EM with
    the exact posterior (Fisher's identity). A question that no candidate answers teaches nothing.
    """

    log_a: Sequence[Tensor]
    log_b: Sequence[Tensor]

    def __call__(self, chooser: Chooser, seen: Candidates, batch: Sequence[int]) -> Tensor:
        """The negative log-likelihood of the answers, the mean over the questions that have one."""
        losses = [seen.first.new_zeros(())]
        for row, question in enumerate(batch):
            log_a = self.log_a[question].to(seen.first)
            if torch.isneginf(log_a).all():
                continue
            every = sets.all_up_to(len(log_a), chooser.passages).to(seen.first.device)
            explained = set_log_likelihood(
                log_a, self.log_b[question].to(seen.first), every, log_c=0.0
            )
            mine = seen.rows(slice(row, row + 1))
            # They are sets for sure: to look them through would take a fifth of a step.
            log_prior = sets.log_prob(*chooser.as_sets(mine), every.unsqueeze(0))[0]
            losses.append(-log_marginal(log_prior, explained))
        return torch.stack(losses).sum() / max(1, len(losses) - 1)
