"""One verifier for all sets of agents that may have been asked, in place of one for each: a control."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pointsman.defer.candidates import Floats, Mask, Said
from pointsman.defer.verifier import Verifier

# Of the stations each question is seen at so many, at random: at all of them it would not fit into memory.
_SEEN_AT = 4


class Shared(Verifier):
    """The one verifier, at a station where the agents `asked` [A] were asked."""

    def __init__(self, whole: Verifier, asked: Mask) -> None:
        super().__init__(asked, whole.logit, whole.best_right)
        self._whole = whole

    def __call__(self, said: Said) -> Floats:
        """The chance that each agent's answer is right [n, A]."""
        return self._whole(said.hearing(self.asked))


def one_for_all(
    said: Said, right: npt.NDArray[np.floating], stations: Mask
) -> list[Verifier | None]:
    """What `defer.verifier.one_each` is, learned once from questions at any station."""
    generator = np.random.default_rng(0)
    there = np.flatnonzero(stations.any(axis=1))
    at = there[generator.integers(0, len(there), (len(said), min(_SEEN_AT, len(there))))]
    parts = [(k, np.flatnonzero((at == k).any(axis=1))) for k in there.tolist()]
    seen = Said.stacked([said.take(rows).hearing(stations[k]) for k, rows in parts])
    truth = np.concatenate([right[rows] for _, rows in parts])
    whole = Verifier.learn(seen, truth, np.ones(said.agents, dtype=bool))
    return [Shared(whole, asked) if asked.any() else None for asked in stations]
