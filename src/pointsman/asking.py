"""Asking agents: whom the allocator says, what was said is shown to it, and so on until it asks nobody new.

Time and a budget may end that sooner. Then it decides among what was said, and nobody else is asked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError
from pointsman.protocols import Agent, Allocator
from pointsman.trace import Cost, Step
from pointsman.types import Allocation, Answer, FloatArray, Passage


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The answer to one question, with all that was paid for it, and the step of the trace that says who
    was asked and why. The step's seconds are those of deciding.
    """

    answer: Answer
    step: Step


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """Who may be asked, and how that is decided.

    `price` is in correct answers for one unit of cost. `budget` is the most dollars that agents may take
    for one question, None for any: one that is expected to take more than is left of it is not asked. An
    answer that the allocator, where it knows better than the agent, finds less likely right than
    `min_confidence` is not given.
    """

    agents: tuple[Agent, ...]
    allocator: Allocator
    price: float
    budget: float | None = None
    min_confidence: float = 0.0

    def __call__(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        answerable: Sequence[bool],
        deadline: Deadline | None,
    ) -> list[Asked]:
        """What came of each question; of one that is not `answerable` [n] nobody is asked.

        An agent that does not answer in time has failed, and what others said is given. Raises
        DeadlineError where time is up and nobody has answered anything, or the call was called off;
        ConfigError for an allocator of other agents.
        """
        dollars = self._dollars(questions, contexts)
        given = zip(questions, contexts, dollars, answerable, strict=True)
        cases = [_Case(*each) for each in given]
        started = time.perf_counter()
        self._decide(cases, deadline)
        seconds = time.perf_counter() - started
        if deadline is not None:
            deadline.check("deciding whom to ask")
        while open_ := [case for case in cases if case.open]:
            self._ask(open_, deadline)
            late = _time_is_up(cases, deadline)
            if len(self.agents) == 1:
                break
            started = time.perf_counter()
            try:
                self._decide(open_, None if late else deadline, late)
            except DeadlineError:
                if not _time_is_up(cases, deadline):
                    raise
                self._decide(open_, None, late=True)
            seconds += time.perf_counter() - started
        return [self._asked(case, seconds / len(cases)) for case in cases]

    def _dollars(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> npt.NDArray[np.float64]:
        """What each agent is expected to take for each question [n, A]; asked for where there is a budget."""
        if self.budget is None:
            return np.zeros((len(questions), len(self.agents)))
        costs = [agent.estimate(questions, contexts) for agent in self.agents]
        return np.array([[cost.usd for cost in row] for row in costs]).T

    def _decide(
        self, cases: Sequence[_Case], deadline: Deadline | None, late: bool = False
    ) -> None:
        """Whom to ask next about each, or whose answer to give; where it is `late` nobody else is asked."""
        seen = [case.seen for case in cases]
        allocation = self.allocator.allocate(
            [case.question for case in cases],
            [case.context for case in cases],
            self.price,
            seen if any(seen) else None,
            deadline,
            np.array([case.within(self.budget) & (not late) for case in cases]),
        )
        names = tuple(agent.name for agent in self.agents)
        if allocation.agents != names:
            raise ConfigError(
                f"the allocator chooses among {_listed(allocation.agents)}, but the agents are "
                f"{_listed(names)}; give it the same ones in the same order"
            )
        for i, case in enumerate(cases):
            case.heed(allocation, i, late)

    def _ask(self, cases: Sequence[_Case], deadline: Deadline | None) -> None:
        """Each agent answers its own questions in one call."""
        for j, agent in enumerate(self.agents):
            mine = [case for case in cases if case.choice == j]
            if not mine:
                continue
            questions, contexts = [case.question for case in mine], [case.context for case in mine]
            try:
                given = agent.answer(questions, contexts, deadline)
            except DeadlineError:
                # It failed; what others said is still there. Whoever called it off wants none of it.
                if deadline is None or deadline.cancelled:
                    raise
                late = f"{agent.name} did not answer in time"
                given = [Answer(q, "", 0.0, agent=agent.name, failure=late) for q in questions]
            for case, answer in zip(mine, given, strict=True):
                case.seen[j] = answer

    def _asked(self, case: _Case, seconds: float) -> Asked:
        names = [agent.name for agent in self.agents]
        answer = case.answer(self.min_confidence)
        return Asked(answer, case.step(names, answer, self.budget, seconds))


@dataclass(slots=True, eq=False)
class _Case:
    """One question on its way: who said what, and how the choice looked last to the allocator.

    `dollars` [A] is what each agent is expected to take.
    """

    question: str
    context: Sequence[Passage]
    dollars: npt.NDArray[np.float64]
    answerable: bool
    seen: dict[int, Answer] = field(default_factory=dict)
    choice: int = -1
    late: bool = False
    expected_cost: FloatArray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    sure: FloatArray | None = None
    errors: FloatArray | None = None
    gflops: float = 0.0

    @property
    def open(self) -> bool:
        """Whether somebody is to be asked."""
        return self.choice >= 0 and self.choice not in self.seen

    def within(self, budget: float | None) -> npt.NDArray[np.bool_]:
        """Who takes no more than is left of the budget [A]; whoever takes nothing always does."""
        if budget is None:
            return np.ones(len(self.dollars), dtype=bool)
        spent = sum(answer.cost.usd for answer in self.seen.values())
        return np.asarray(self.dollars <= max(0.0, budget - spent))

    def heed(self, allocation: Allocation, i: int, late: bool) -> None:
        """Take what was decided of it, row i."""

        def row(values: FloatArray | None) -> FloatArray | None:
            return None if values is None else values[i]

        self.choice = int(allocation.choice[i]) if self.answerable else -1
        self.late = late
        self.expected_cost = allocation.expected_cost[i]
        # Before anything was said there is nothing of which it could be sure.
        self.sure = row(allocation.confidence) if self.seen else None
        self.errors = row(allocation.errors)
        self.gflops += 0.0 if allocation.gflops is None else float(allocation.gflops[i])

    def answer(self, least: float) -> Answer:
        """The one that is given, with all that was paid; none that the allocator finds less likely than `least`."""
        nothing = Answer(self.question, "", 0.0, abstained=True)
        answer = self.seen.get(self.choice, nothing)
        if answer.text and self.sure is not None:
            chance = float(self.sure[self.choice])
            answer = replace(answer, confidence=chance)
            if chance < least:
                answer = replace(nothing, confidence=chance, agent=answer.agent)
        return replace(answer, cost=sum((each.cost for each in self.seen.values()), Cost()))

    def step(
        self, agents: Sequence[str], answer: Answer, budget: float | None, seconds: float
    ) -> Step:
        """Each agent's expected cost, who was asked, and how likely each is wrong, as far as that is known;
        why agents failed whose answer is not the one that is given, and what kept others from being asked.
        """
        notes = ["expected costs"]
        if self.errors is not None:
            known = zip(agents, self.errors.tolist(), strict=True)
            wrong = [f"{agent} {error:.2f}" for agent, error in known if not math.isnan(error)]
            notes += [f"expected errors: {', '.join(wrong)}"] if wrong else []
        failures = [each.failure for each in self.seen.values()]
        notes += [each for each in failures if each and each != answer.failure]
        notes += ["time was up, and nobody else was asked"] if self.late else []
        fits = self.within(budget)
        beyond = [name for j, name in enumerate(agents) if j not in self.seen and not fits[j]]
        if beyond:
            notes.append(f"the budget of ${budget:g} leaves too little for {_listed(beyond)}")
        return Step(
            "defer",
            tuple(agents),
            tuple(float(cost) for cost in self.expected_cost),
            tuple(agents[j] for j in self.seen),
            seconds,
            Cost(gflops=self.gflops),
            note="; ".join(notes),
        )


def _time_is_up(cases: Sequence[_Case], deadline: Deadline | None) -> bool:
    """Raises DeadlineError where it is and nobody has answered anything, or the call was called off."""
    if deadline is None:
        return False
    late = deadline.remaining() == 0
    said = any(not answer.failure for case in cases for answer in case.seen.values())
    if deadline.cancelled or (late and not said):
        deadline.check("reading")
    return late


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
