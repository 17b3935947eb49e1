"""The plain choice: the first agent answers everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pointsman.deadline import Deadline
from pointsman.errors import ConfigError
from pointsman.types import Allocation, Answer, Passage


class FirstAgent:
    """Always the first of the agents, whatever the price (protocol `Allocator`)."""

    def __init__(self, agents: Sequence[str]) -> None:
        if not agents:
            raise ConfigError("there is no agent to answer; configure at least one")
        self._agents = tuple(agents)

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Sequence[Mapping[int, Answer]] | None = None,
        deadline: Deadline | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Allocation:
        """The first agent that may be asked for every question, and the next one where it failed; nothing is
        known of their costs.
        """
        count = len(self._agents)
        choice = np.zeros(len(questions), dtype=np.int64)
        for i, answers in enumerate(seen or [{}] * len(questions)):
            may = range(count) if allowed is None else np.flatnonzero(allowed[i]).tolist()
            tried = [j for j in answers if not answers[j].failure]
            tried += [j for j in may if j not in answers]
            # Where all failed, why the last one did.
            choice[i] = tried[0] if tried else next(reversed([-1, *answers]))
        return Allocation(
            agents=self._agents,
            choice=choice,
            expected_cost=np.zeros((len(questions), len(self._agents)), dtype=np.float32),
        )
