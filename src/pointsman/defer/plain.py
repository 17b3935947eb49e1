"""The plain choice: the first agent answers everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

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
    ) -> Allocation:
        """Agent 0 for every question, and the next one where it failed; nothing is known of their costs."""
        choice = np.zeros(len(questions), dtype=np.int64)
        last = len(self._agents) - 1
        for i, answers in enumerate(seen or ()):
            tried = (j for j in range(last + 1) if j not in answers or not answers[j].failure)
            choice[i] = next(tried, last)
        return Allocation(
            agents=self._agents,
            choice=choice,
            expected_cost=np.zeros((len(questions), len(self._agents)), dtype=np.float32),
        )
