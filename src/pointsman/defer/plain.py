"""The plain choice: the first agent answers everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.errors import ConfigError
from pointsman.types import Allocation, Passage


class FirstAgent:
    """Always the first of the agents, whatever the price (protocol `Allocator`)."""

    def __init__(self, agents: Sequence[str]) -> None:
        if not agents:
            raise ConfigError("there is no agent to answer; configure at least one")
        self._agents = tuple(agents)

    def allocate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]], price: float
    ) -> Allocation:
        """Agent 0 for every question; nothing is known of the others' costs."""
        n = len(questions)
        return Allocation(
            agents=self._agents,
            choice=np.zeros(n, dtype=np.int64),
            expected_cost=np.zeros((n, len(self._agents)), dtype=np.float32),
        )
