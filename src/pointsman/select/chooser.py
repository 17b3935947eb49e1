"""A chooser: how a pointer's scores become selections, one choice after the other or as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pointsman.select import permutation, sets
from pointsman.select.permutation import END, Step
from pointsman.select.pointer import Candidates, PointerHead

Policy = Literal["pointer", "sets"]
"""One choice after the other, in an order that matters; or a set as a whole, in none."""


@dataclass(frozen=True, slots=True)
class Chooser:
    """Selections of 1 to `passages` candidates of q questions, by a head."""

    head: PointerHead
    policy: Policy
    passages: int

    def log_prob(self, seen: Candidates, selections: Tensor) -> Tensor:
        """Log-probabilities [q, m] of selections [q, m, k]. Raises InputError for what is no selection of
        the candidates that there are places for; see `permutation.log_prob`.
        """
        if self.policy == "sets":
            permutation.check(selections.flatten(0, 1), seen.there.shape[1])
            return sets.log_prob(*self.as_sets(seen), selections)
        scores = self.head.scores(seen, selections).flatten(0, 1)
        found = permutation.log_prob(scores, selections.flatten(0, 1))
        return found.reshape(selections.shape[:2])

    def sample(self, seen: Candidates, m: int, generator: torch.Generator | None = None) -> Tensor:
        """m selections of each question [q, m, k]. Every question must have a candidate."""
        if self.policy == "sets":
            return sets.sample(*self.as_sets(seen), m, generator)
        q, n = seen.there.shape
        drawn = permutation.sample(self._step(seen, m), n, self.passages, q * m, generator)
        return drawn.reshape(q, m, -1)

    def likeliest(self, seen: Candidates, m: int) -> tuple[Tensor, Tensor]:
        """About the m likeliest selections of each question [q, m, k] of a pointer, the likeliest first, and
        their log-probabilities [q, m]; see `permutation.likeliest`. Every question must have a candidate.
        """
        q, n = seen.there.shape
        return permutation.likeliest(self._step(seen, m), n, self.passages, m, q)

    def best(self, seen: Candidates) -> Tensor:
        """The likeliest candidate at every step until it stops, or the likeliest set, of each question [q, k]."""
        chosen = torch.full((len(seen.there), self.passages), END)
        asked = torch.nonzero(seen.there.any(1)).flatten()
        if len(asked):
            some = seen.rows(asked)
            if self.policy == "sets":
                found = sets.likeliest(*self.as_sets(some)).cpu()
            else:
                n = seen.there.shape[1]
                found = permutation.best(self._step(some, 1), n, self.passages, len(asked))
            chosen[asked, : found.shape[1]] = found
        return chosen

    def chances(self, seen: Candidates, chosen: Tensor) -> tuple[Tensor, list[str]]:
        """How likely each candidate was to be `chosen` [q, k]: [q, n]; see `types.Selection`. And how each
        choice came to so many, in words.

        Of a set: to be in it.
        """
        counts = (chosen != END).sum(1)
        if self.policy == "sets":
            found = sets.chances(*self.as_sets(seen)).nan_to_num()
            return found, [f"as a set, {each:.1f} expected" for each in found.sum(1).tolist()]
        # One turn more, for those that were not chosen.
        turns = torch.cat([chosen, torch.full((len(chosen), 1), END)], dim=1)
        scores = self.head.scores(seen, turns.unsqueeze(1))[:, 0]
        p = permutation.log_probabilities(scores, turns).exp().nan_to_num()
        last = p[torch.arange(len(p)), counts]
        found = last[:, :-1].clone()
        for turn in range(chosen.shape[1]):
            here = torch.nonzero(chosen[:, turn] != END).flatten()
            places = chosen[here, turn]
            found[here, places] = p[here, turn, places]
        stopped = [
            f"one after the other, stopped at {stop:.2f}"
            if count < chosen.shape[1]
            else "one after the other"
            for count, stop in zip(counts.tolist(), last[:, -1].tolist(), strict=True)
        ]
        return found, stopped

    def as_sets(self, seen: Candidates) -> tuple[Tensor, Tensor]:
        """Scores [q, n] of candidates and [q, K] of sizes; see `select.sets`."""
        return seen.first, self.head.sizes(seen, self.passages)

    def _step(self, seen: Candidates, m: int) -> Step:
        """Scores of the next choice after prefixes [q · m, t]."""
        q = len(seen.there)

        def step(prefix: Tensor) -> Tensor:
            asked = torch.cat([prefix, torch.full((len(prefix), 1), END)], dim=1)
            return self.head.scores(seen, asked.reshape(q, m, -1))[:, :, -1].flatten(0, 1)

        return step
