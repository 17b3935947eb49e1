"""P(answer right | question, passage, answer, who gave it, who else said what): one verifier for all agents.

In two parts. Which of the different answers is right, if one is, is a conditional logit (McFadden 1974)
over the answers of a question: what they have in common cancels, and a few dozen weights learn from
every question where agents disagree. Whether the best of them is right is a logistic regression over
that and over who agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pointsman.defer.candidates import Floats, Mask, Said, features, first_of_each, probable
from pointsman.defer.cost import Choices
from pointsman.defer.logistic import Logistic, log_odds

# An answer that was given has a chance, however small, and none that was not.
_UNLIKELY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Logit:
    """Weights of standardised features [f]: the score of an answer among the others of its question."""

    mean: Floats
    spread: Floats
    weights: Floats

    @classmethod
    def learn(
        cls, given: Floats, there: Mask, right: Floats, penalty: float = 1e-3, steps: int = 100
    ) -> Logit:
        """From features [n, A, f] of the answers that are `there` [n, A], and whether each is right [n, A].

        Makes -log of the right answers' share small, plus half the penalty on the squared weights, over
        the questions with both right and wrong answers; without any all are alike to it. Deterministic.
        """
        flat = given[there]
        if not len(flat):
            flat = np.zeros((1, given.shape[-1]), dtype=np.float32)
        mean, spread = flat.mean(axis=0), flat.std(axis=0)
        spread = np.where(spread > 1e-6, spread, 1).astype(np.float32)
        good = (right > 0.5) & there
        told = np.asarray(good.any(axis=1) & (there & ~good).any(axis=1))
        x = torch.from_numpy((given[told] - mean) / spread)
        mask, truth = torch.from_numpy(there[told]), torch.from_numpy(good[told])
        weights = torch.zeros(x.shape[-1], requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            shares = (x @ weights).masked_fill(~mask, -torch.inf).log_softmax(-1)
            loss = -shares.masked_fill(~truth, -torch.inf).logsumexp(-1).mean()
            loss = loss + penalty / 2 * weights.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        if len(x):
            optimizer.step(closure)  # type: ignore[no-untyped-call]
        return cls(mean, spread, weights.detach().numpy())

    def shares(self, given: Floats, there: Mask) -> Floats:
        """The chance of each answer, if one is right [n, A]; rows sum to 1, or to 0 where nothing is there."""
        scores = ((given - self.mean) / self.spread) @ self.weights
        scores = np.where(there, scores, -np.inf)
        top = scores.max(axis=1, keepdims=True)
        odds = np.exp(scores - np.where(np.isfinite(top), top, 0))
        return np.asarray(odds / np.maximum(odds.sum(axis=1, keepdims=True), 1e-30), np.float32)


class Verifier:
    """Chances of answers once the agents `asked` [A] have been asked, and no other."""

    def __init__(self, asked: Mask, logit: Logit, best_right: Logistic) -> None:
        self.asked = asked
        self.logit = logit
        self.best_right = best_right

    @classmethod
    def learn(
        cls,
        said: Said,
        right: npt.NDArray[np.floating],
        asked: Mask,
        *,
        penalty: float = 1e-3,
    ) -> Verifier:
        """From what all agents said, and whether it was `right` [n, A] in [0, 1].

        What an agent's word is worth depends on who else was asked, so every set of agents has a
        verifier of its own.
        """
        said, known = said.among(asked), np.asarray(right, dtype=np.float32)[:, asked]
        given, there = _of(said)
        logit = Logit.learn(given, there, known, penalty)
        shares = logit.shares(given, there)
        choice, _ = best(shares)
        good = known[np.arange(len(said)), choice] * there.any(axis=1)
        return cls(asked, logit, Logistic.learn(state(said, shares), good[:, None], penalty))

    def __call__(self, said: Said) -> Floats:
        """The chance that each agent's answer is right [n, A]; 0 where it was not asked or said nothing.

        Agents with the same answer have the same chance. The best answer's is calibrated; the others
        have their share of it.
        """
        found = np.zeros(said.given.shape, dtype=np.float32)
        said = said.among(self.asked)
        given, there = _of(said)
        shares = self.logit.shares(given, there)
        _, top = best(shares)
        relative = shares / np.maximum(top, 1e-12)[:, None]
        chances = relative * self.best_right(state(said, shares))
        of_each = (chances[:, None, :] * said.same).max(-1)
        found[:, self.asked] = np.where(said.given, np.maximum(of_each, _UNLIKELY), 0)
        return found


Learn = Callable[[Said, npt.NDArray[np.floating], Mask], Sequence[Verifier | None]]
"""What was said, how right it was [n, A], stations [K, A] -> a verifier for each, None for nobody."""


def one_each(said: Said, right: npt.NDArray[np.floating], stations: Mask) -> list[Verifier | None]:
    """A verifier of its own for every station."""
    return [Verifier.learn(said, right, asked) if asked.any() else None for asked in stations]


def state(said: Said, chances: Floats) -> Floats:
    """What is known once these agents were asked [n, f]: how sure which answer is, who agrees with it, and
    how sure they say they are.

    `chances` [n, A] are of answers, or their shares.
    """
    rows = np.arange(len(said))
    choice, _ = best(chances)
    held = np.asarray(chances.any(axis=1))
    with_it = said.same[rows, choice]
    everyone = np.ones(said.agents, dtype=bool)
    parts = [
        with_it,
        with_it * said.own,
        *_looked(said, choice),
        said.overlap[rows, choice],
        sureness(said, everyone, chances),
        np.where(held[:, None], said.shape[rows, choice], 0),
        said.asked,
    ]
    return np.concatenate([np.asarray(part, dtype=np.float32) for part in parts], axis=1)


def _looked(said: Said, choice: Choices) -> list[Floats]:
    """What the reader that looked thinks of the best answer [n, 1] twice, and of the best other one [n, 1]."""
    rows = np.arange(len(said))
    chance = probable(said.looked) * said.given
    others = np.where(said.same[rows, choice], 0, chance).max(axis=1)
    return [each[:, None] for each in (said.looked[rows, choice], chance[rows, choice], others)]


def sureness(said: Said, asked: Mask, chances: Floats) -> Floats:
    """The same in five numbers [n, 5]: the best answer's chance, its log-odds, the chance of the best other
    answer, how many different answers there are, and whether there is any.
    """
    there = first_of_each(said, _rows(said, asked))
    of_each = np.sort(np.where(there, chances, 0), axis=1)[:, ::-1]
    sure = of_each[:, 0]
    second = of_each[:, 1] if said.agents > 1 else np.zeros(len(said))
    held = there.any(axis=1)
    odds = np.where(held, log_odds(sure), 0)
    return np.stack([sure, odds, second, there.sum(axis=1), held], axis=1).astype(np.float32)


def best(chances: Floats) -> tuple[Choices, Floats]:
    """The likeliest agent [n] and its chance [n]; of equal ones the first."""
    choice = np.asarray(chances.argmax(axis=1), dtype=np.int64)
    return choice, chances[np.arange(len(chances)), choice]


def worthiest(chances: Floats, asked: Mask, alpha: npt.NDArray[np.floating] | float) -> Choices:
    """Whose answer costs least [n], α_j · (1 - chance), of the answers that were given, by chances [n, A], 0
    for none; of the agents `asked` [A] where none was. Of equal ones the first.
    """
    there = chances > 0
    there = np.where(there.any(axis=1, keepdims=True), there, asked)
    costs = np.where(there, alpha * (1 - chances), np.inf)
    return np.asarray(costs.argmin(axis=1), dtype=np.int64)


def _rows(said: Said, asked: Mask) -> Mask:
    return np.asarray(np.broadcast_to(asked, said.given.shape) & said.given)


def _of(said: Said) -> tuple[Floats, Mask]:
    return features(said, said.given), first_of_each(said, said.given)
