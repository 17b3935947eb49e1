"""Deviate only with evidence: leave the best single agent only where another is surely worth it.

Agents fail on the same questions, so what can be foreseen is mostly how hard a question is: one latent
number, as in item-response models (Rasch 1960), and how steeply each agent falls with it. The lift over
the best single agent at a price is bounded from below by resampling whole clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.defer.cost import Choices, Floats
from pointsman.defer.logistic import Logistic, log_odds

Features = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class ItemResponse:
    """Chances of being right by how hard a question is expected to be."""

    easy: Logistic
    agents: Logistic

    @classmethod
    def learn(cls, features: Features, right: Floats, penalty: float = 0.03) -> ItemResponse:
        """From features [n, d] and whether each agent was right [n, A]."""
        easy = Logistic.learn(features, right.mean(axis=1, keepdims=True), penalty)
        return cls(easy, Logistic.learn(log_odds(easy(features)), right, 1e-4))

    def __call__(self, features: Features) -> Floats:
        """Chances of being right [n, A]."""
        return self.agents(log_odds(self.easy(features)))


class Lift:
    """Item-response models of resampled questions, and the rule that leaves the best agent alone."""

    def __init__(self, models: list[ItemResponse], mean: Floats) -> None:
        self._models = models
        self._mean = mean

    @classmethod
    def learn(
        cls,
        features: Features,
        right: Floats,
        clusters: npt.NDArray[np.int64],
        *,
        resamples: int = 8,
        seed: int = 0,
    ) -> Lift:
        """From features [n, d], whether each agent was right [n, A], and what may not be torn apart [n]."""
        generator = np.random.default_rng(seed)
        every = np.unique(clusters)
        models = []
        for _ in range(resamples):
            drawn = generator.choice(every, len(every))
            rows = np.concatenate([np.flatnonzero(clusters == each) for each in drawn])
            models.append(ItemResponse.learn(features[rows], right[rows]))
        return cls(models, right.mean(axis=0))

    def allocate(self, features: Features, beta: Floats, bound: float = 1.0) -> Choices:
        """The agent of each row [n], by what each agent takes, β [A] or, where questions differ in that, [n, A].

        The best single agent by its mean, unless the mean lift of another, less `bound` standard
        deviations over resamples, is above zero; then the one where that is largest.
        """
        worth = np.stack([model(features) for model in self._models]) - beta
        alone = np.broadcast_to(self._mean - beta, worth.shape[1:]).argmax(axis=1)
        lift = worth - np.take_along_axis(worth, alone[None, :, None], axis=2)
        sure = lift.mean(axis=0) - bound * lift.std(axis=0)
        choice = sure.argmax(axis=1)
        kept = np.where(sure[np.arange(len(choice)), choice] > 0, choice, alone)
        return np.asarray(kept, dtype=np.int64)
