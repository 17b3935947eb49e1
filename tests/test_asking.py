"""Asking agents until nobody new is asked, or time or money ends it; far ones over a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from endpoint import Endpoint, serving
from pointsman.asking import Asked, Asking
from pointsman.deadline import Deadline
from pointsman.defer.look_first import LookFirst
from pointsman.defer.plain import FirstAgent
from pointsman.errors import DeadlineError
from pointsman.protocols import Agent, Allocator
from pointsman.read.chat import ChatAgent, ChatSettings
from pointsman.trace import Cost
from pointsman.types import Allocation, Answer, Passage

BOAT = [Passage("lake", "The boat on the lake is Red, like the barn.", "Lake")]
QUESTION = "What colour is the boat?"


class Near:
    """Answers at once, as sure as it is told; or fails, or takes its time."""

    def __init__(
        self, name: str, sure: float = 0.3, usd: float = 0.0, failure: str = "", wait: float = 0.0
    ) -> None:
        self.name = name
        self.asked: list[str] = []
        self._sure, self._usd, self._failure, self._wait = sure, usd, failure, wait

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        self.asked += questions
        time.sleep(self._wait)
        if deadline is not None:
            deadline.check("reading")
        text = "" if self._failure else self.name
        cost = Cost(usd=self._usd)
        return [
            Answer(q, text, self._sure, agent=self.name, failure=self._failure, cost=cost)
            for q in questions
        ]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        return [Cost(usd=self._usd)] * len(questions)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as server:
        yield server


def far(endpoint: Endpoint, **more: Any) -> ChatAgent:
    settings: dict[str, Any] = {"timeout": 2.0, "retries": 0, **more}
    return ChatAgent(ChatSettings("far", endpoint.url, "a-model", **settings), first_wait=0.01)


def ask(
    agents: Sequence[Agent],
    allocator: Allocator,
    questions: Sequence[str] = (QUESTION,),
    deadline: Deadline | None = None,
    budget: float | None = None,
) -> list[Asked]:
    asking = Asking(tuple(agents), allocator, 0.0, budget)
    return asking(questions, [BOAT] * len(questions), [True] * len(questions), deadline)


def looking(*right: float) -> LookFirst:
    """The reader first, then far and what else is right so often, where it is not sure enough."""
    names = ["reader", "far", "other"][: len(right) + 1]
    return LookFirst(names, [0.0, *right], [0.0, *[1.0] * len(right)])


# --- time -------------------------------------------------------------------------------------------


def test_what_the_reader_said_is_given_where_one_far_away_hangs(endpoint: Endpoint) -> None:
    endpoint.script = [{"text": "Red", "wait": 3}]
    reader, other = Near("reader"), Near("other", 0.8)
    began = time.monotonic()
    [found] = ask([reader, far(endpoint), other], looking(0.9, 0.8), deadline=Deadline(0.4))
    assert time.monotonic() - began < 1.5
    assert (found.answer.text, found.answer.agent, found.answer.failure) == ("reader", "reader", "")
    assert other.asked == []  # there was no time for anybody else
    assert found.step.choice == ("reader", "far")
    assert "far did not answer in time" in found.step.note
    assert found.step.note.endswith("time was up, and nobody else was asked")


def test_what_others_answered_in_time_is_kept(endpoint: Endpoint) -> None:
    """Of two questions far answers the first, and hangs at the other."""
    endpoint.script = [{"text": "Red"}, {"text": "Red", "wait": 3}]
    agents = [Near("reader"), far(endpoint, concurrency=1)]
    one, two = ask(agents, looking(0.9), [QUESTION, "And the barn?"], Deadline(0.5))
    assert (one.answer.text, one.answer.agent) == ("Red", "far")
    assert (two.answer.text, two.answer.agent) == ("reader", "reader")


def test_a_reader_that_is_too_slow_fails_too() -> None:
    agents = [Near("reader"), Near("far", wait=0.4)]
    [found] = ask(agents, looking(0.9), deadline=Deadline(0.3))
    assert found.answer.text == "reader"
    assert "far did not answer in time" in found.step.note


@pytest.mark.parametrize("alone", [True, False])
def test_where_nobody_answered_in_time_there_is_no_answer(endpoint: Endpoint, alone: bool) -> None:
    endpoint.script = [{"text": "Red", "wait": 3}]
    reader = Near("reader")
    agents: list[Agent] = [far(endpoint)] if alone else [far(endpoint), reader]
    with pytest.raises(DeadlineError, match="the deadline passed while"):
        ask(agents, FirstAgent([agent.name for agent in agents]), deadline=Deadline(0.3))
    assert reader.asked == []


def test_whoever_calls_it_off_wants_no_answer(endpoint: Endpoint) -> None:
    endpoint.script = [{"text": "Red", "wait": 0.5}]
    deadline = Deadline(60)
    threading.Timer(0.2, deadline.cancel).start()
    with pytest.raises(DeadlineError, match="cancelled while"):
        ask([Near("reader"), far(endpoint)], looking(0.9), deadline=deadline)


def test_it_is_decided_though_deciding_took_too_long() -> None:
    """The allocator looks at the answer until time is up; then it says whose answer is given, without a limit."""

    class Thoughtful(LookFirst):
        limits: list[Deadline | None] = []  # noqa: RUF012

        def allocate(
            self,
            questions: Sequence[str],
            contexts: Sequence[Sequence[Passage]],
            price: float,
            seen: Sequence[Mapping[int, Answer]] | None = None,
            deadline: Deadline | None = None,
            allowed: npt.NDArray[np.bool_] | None = None,
        ) -> Allocation:
            self.limits.append(deadline)
            if seen is not None and deadline is not None:
                time.sleep(0.3)
                deadline.check("looking")
            return super().allocate(questions, contexts, price, seen, deadline, allowed)

    other, deadline = Near("far"), Deadline(0.2)
    allocator = Thoughtful(["reader", "far"], [0.0, 0.9], [0.0, 1.0])
    [found] = ask([Near("reader"), other], allocator, deadline=deadline)
    assert found.answer.text == "reader"
    assert other.asked == []
    assert allocator.limits == [deadline, deadline, None]


# --- money ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "chosen", "beyond"),
    [
        (None, ("reader", "other"), ""),
        (0.01, ("reader", "other"), "far"),  # when the other was paid nothing is left
        (0.005, ("reader", "far"), "other"),
        (0.002, ("reader", "far"), "other"),
        (0.001, ("reader",), "far, other"),
        (0.0, ("reader",), "far, other"),
    ],
)
def test_whoever_takes_more_than_is_left_of_the_budget_is_not_asked(
    budget: float | None, chosen: tuple[str, ...], beyond: str
) -> None:
    agents = [Near("reader"), Near("far", 0.8, usd=0.002), Near("other", 0.95, usd=0.01)]
    [found] = ask(agents, looking(0.8, 0.95), budget=budget)
    assert found.step.choice == chosen
    assert found.answer.text == chosen[-1]
    if budget is None:
        assert "budget" not in found.step.note
    else:
        note = f"the budget of ${budget:g} leaves too little for {beyond}"
        assert found.step.note.endswith(note)


def test_what_was_paid_in_vain_is_spent() -> None:
    agents = [
        Near("reader"),
        Near("far", usd=0.002, failure="far is down"),
        Near("other", 0.8, 0.002),
    ]
    for budget, chosen in ((0.004, ("reader", "far", "other")), (0.003, ("reader", "far"))):
        [found] = ask(agents, looking(0.9, 0.8), budget=budget)
        assert found.step.choice == chosen
        assert "far is down" in found.step.note


def test_where_all_take_more_nobody_answers() -> None:
    agents = [Near("reader", usd=1.0), Near("far", usd=2.0)]
    [found] = ask(agents, FirstAgent(["reader", "far"]), budget=0.5)
    assert found.answer.abstained
    assert found.step.choice == ()
    assert found.step.note == "expected costs; the budget of $0.5 leaves too little for reader, far"
