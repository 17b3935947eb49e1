"""What a decision costs: an agent's error, weighed, and what asking it takes (arXiv 2410.15761, section 3).

Agents are numbered from 0, the main one, on; A counts them all. Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pointsman.errors import ConfigError, InputError
from pointsman.trace import Cost
from pointsman.types import Passage

Unit = Literal["dollars", "gflops", "seconds"]
Floats = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]

Times = Callable[[Sequence[str], Sequence[Sequence[Passage]]], Floats]
"""Questions and their passages -> how many times what is usual each takes of each agent [n, A]."""


@dataclass(frozen=True, slots=True, eq=False)
class Pricing:
    """c_j = α_j · error_j + β_j: `alpha` [A] and `beta` [A], both in correct answers.

    Raises ConfigError, naming the agent, where one of them is negative or no number.
    """

    agents: tuple[str, ...]
    alpha: Floats
    beta: Floats

    def __post_init__(self) -> None:
        for name, values in (("alpha", self.alpha), ("beta", self.beta)):
            if len(values) != len(self.agents):
                raise ConfigError(f"{len(values)} values of {name} for {len(self.agents)} agents")
            for agent, value in zip(self.agents, values.tolist(), strict=True):
                if not 0 <= value < np.inf:
                    raise ConfigError(f"{name} of {agent} must be 0 or more, not {value}")

    @classmethod
    def at(
        cls,
        price: float,
        agents: Sequence[str],
        units: Sequence[float],
        alpha: Sequence[float] | None = None,
    ) -> Pricing:
        """β_j = λ · cost_j, the dearest agent costing 1, and α = 1 unless it is given.

        `price` λ is how many correct answers one gives up for one unit of cost; `units` [A] is what
        each agent takes, in any one unit. Raises ConfigError where one is negative or no number.
        """
        if not 0 <= price < np.inf:
            raise ConfigError(f"a price must be 0 or more, not {price}")
        weights = np.ones(len(units)) if alpha is None else np.asarray(alpha, dtype=np.float64)
        taken = cls(tuple(agents), weights, np.asarray(units, dtype=np.float64)).beta
        return cls(tuple(agents), weights, price * to_dearest(taken))

    def scaled(self, price: float) -> Pricing:
        """The same at so many times the price."""
        return replace(self, beta=price * self.beta)

    def costs(self, errors: npt.ArrayLike, times: Floats | float = 1.0) -> Floats:
        """Costs [n, A] of errors [n, A] in [0, 1], of questions that take so many `times` [n, A] what is usual;
        NaN, an agent that gave nothing, is an error.
        """
        given = np.asarray(errors, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.agents):
            raise InputError(f"errors of {len(self.agents)} agents are wanted, not {given.shape}")
        return np.asarray(self.alpha * np.nan_to_num(given, nan=1.0) + self.beta * times)


def in_unit(cost: Cost, unit: Unit) -> float | None:
    """A cost in one unit; None where that is not known. Only money may be nothing."""
    if unit == "dollars":
        return cost.usd
    return (cost.gflops if unit == "gflops" else cost.seconds) or None


def to_dearest(units: npt.ArrayLike) -> Floats:
    """What agents take [A] as shares of the dearest's; as it is where nobody takes anything.

    Raises ConfigError for what is negative, without end or no number.
    """
    taken = np.asarray(units, dtype=np.float64)
    wrong = taken[~((taken >= 0) & (taken < np.inf))]
    if wrong.size:
        raise ConfigError(f"what an agent takes must be 0 or more, not {wrong[0]}")
    return np.asarray(taken / (taken.max(initial=0.0) or 1.0))


def rounded(times: npt.ArrayLike, step: float = 1.1) -> Floats:
    """Times [n, A] as powers of `step`, so that one plan serves many questions; 0 is 0."""
    given = np.asarray(times, dtype=np.float64)
    powers = np.full(given.shape, -np.inf)
    np.log(given, out=powers, where=given > 0)
    return np.asarray(step ** np.round(powers / np.log(step)))


def alike(times: npt.ArrayLike) -> list[tuple[Choices, Floats]]:
    """Questions of which each agent takes about as much: their rows, and how many times the usual that is [A].

    `times` [n, A] is what each question takes by what is usual, and it is rounded for each alone: a question
    is decided alike whatever it is asked together with.
    """
    every, group = np.unique(rounded(times), axis=0, return_inverse=True)
    return [(np.flatnonzero(group.reshape(-1) == g), each) for g, each in enumerate(every)]


def cheapest(costs: npt.ArrayLike) -> Choices:
    """The agent [n] of the least of the costs [n, A]; ties go to the lower number, so to the main one."""
    return np.asarray(np.argmin(np.asarray(costs, dtype=np.float64), axis=1), dtype=np.int64)


def taken(costs: Floats, choice: Choices) -> Floats:
    """What each choice [n] took of the costs [n, A]."""
    found: Floats = costs[np.arange(len(choice)), choice]
    return found


def one_agent(start: npt.ArrayLike, end: npt.ArrayLike) -> Choices:
    """One agent [n] for both ends of a span, of the ends' scores [n, A] each, higher is better.

    The paper allocates start and end apart, r_i with i in {start, end}. Where they disagree an answer
    of two agents' halves may be no span at all; then of the two that were chosen the one whose scores,
    as log-probabilities, sum to more answers both.
    """
    first, last = (_log_softmax(np.asarray(each, dtype=np.float64)) for each in (start, end))
    rows = np.arange(len(first))
    ahead, behind = first.argmax(axis=1), last.argmax(axis=1)
    both = first + last
    keep = both[rows, ahead] >= both[rows, behind]
    return np.asarray(np.where(keep, ahead, behind), dtype=np.int64)


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(axis=1, keepdims=True)
    out: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return out
