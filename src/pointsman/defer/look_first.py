"""Ask the first agent, and others only where it is not sure enough: what needs no training.

The arg-min rule of arXiv 2410.15761 with c_j = 1 - P(right) + β_j, where the first agent's chance is its
own calibrated confidence in the answer that it gave, and the others' what they are said to be right at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pointsman.deadline import Deadline
from pointsman.defer.cost import Pricing, Times, cheapest
from pointsman.errors import ConfigError
from pointsman.types import Allocation, Answer, Passage

Seen = Sequence[Mapping[int, Answer]]


class LookFirst:
    """The first agent answers; another one is asked where its promise, less its price, is better.

    `right` [A] is how often each agent is right where it is asked, the first one's only until it has
    answered; `units` [A] is what each takes, in any one unit, `times` says how much more than usual a
    question takes, and `alpha` [A] what an error weighs, 1 unless it is given (protocol `Allocator`). Raises
    ConfigError where they do not fit the agents.
    """

    def __init__(
        self,
        agents: Sequence[str],
        right: Sequence[float],
        units: Sequence[float],
        times: Times | None = None,
        alpha: Sequence[float] | None = None,
    ) -> None:
        if not agents:
            raise ConfigError("there is no agent to answer; configure at least one")
        if not len(agents) == len(right) == len(units):
            raise ConfigError(
                f"{len(agents)} agents, {len(right)} chances and {len(units)} costs do not fit"
            )
        self._agents = tuple(agents)
        self._right = np.asarray(right, dtype=np.float64)
        self._units = tuple(units)
        self._times = times
        self._alpha = alpha

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Seen | None = None,
        deadline: Deadline | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Allocation:
        """Whom to ask first, and after that whom to ask next; an agent that was asked gives its answer."""
        pricing = Pricing.at(price, self._agents, self._units, self._alpha)
        errors = np.tile(1 - self._right, (len(questions), 1))
        times = 1.0 if self._times is None else self._times(questions, contexts)
        costs = pricing.costs(errors, times)
        may = np.ones(costs.shape, dtype=bool) if allowed is None else allowed.copy()
        # How likely the first one is right it says itself.
        errors[:, 0] = np.nan
        for i, answers in enumerate(seen or ()):
            for j, answer in answers.items():
                # It is paid for already. Nothing that was said is as good as nobody asked.
                errors[i, j] = 1 - answer.confidence if answer.text else 1.0
                costs[i, j] = pricing.alpha[j] * errors[i, j]
                may[i, j] = True
        # No answer is not better than one that may be right, but it costs no more either.
        choice = cheapest(np.where(may, costs, np.inf))
        if seen is None:
            choice[may[:, 0]] = 0
        choice[~may.any(axis=1)] = -1
        return Allocation(
            self._agents, choice, costs.astype(np.float32), errors=errors.astype(np.float32)
        )
