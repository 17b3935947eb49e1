"""The way of a question through the stages: route, retrieve, grade, select, defer, read."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.asking import Asking
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError
from pointsman.grade.relevance import best_first, expected_relevance
from pointsman.protocols import (
    Agent,
    Allocator,
    Encoder,
    Grader,
    Index,
    QueryFit,
    Router,
    Selector,
)

# The modes belong to a pipeline's settings too, and are to be had with them.
from pointsman.retriever import MODES as MODES
from pointsman.retriever import Mode as Mode
from pointsman.retriever import Retriever, check_mode, check_question
from pointsman.trace import Cost, Step, Trace, shorten
from pointsman.types import (
    Answer,
    FloatArray,
    Graded,
    Hit,
    Passage,
    Routing,
    Selection,
    Where,
)

# So many questions share one encode, one search and one read; more are taken in turns, so that
# memory does not grow with their number.
_TOGETHER = 256

NOTHING_RELEVANT = "nothing relevant found"


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """How many passages are looked at. `price` is in correct answers for one unit of cost.

    `relevance_weight` is the share of relevance in the order of the candidates, the rest is the
    retrieval score's; those of a relevance below `min_relevance` are not read. An answer that a learned
    allocator finds less likely right than `min_confidence` is not given; agents alone have their own.
    `budget` is the most dollars that agents may take for one question, None for any.
    """

    mode: Mode = "hybrid"
    candidates: int = 20
    price: float = 0.0
    relevance_weight: float = 0.7
    min_relevance: float = 0.0
    min_confidence: float = 0.0
    budget: float | None = None

    def __post_init__(self) -> None:
        check_mode(self.mode)
        if self.candidates < 1:
            raise ConfigError(f"at least 1 passage must be retrieved, not {self.candidates}")
        if not self.price >= 0:
            raise ConfigError(f"a price is at least 0, not {self.price}")
        if self.budget is not None and not 0 <= self.budget < math.inf:
            raise ConfigError(f"a budget is 0 dollars or more, not {self.budget}")
        shares = {
            "the weight of relevance": self.relevance_weight,
            "the least relevance": self.min_relevance,
            "the least confidence": self.min_confidence,
        }
        for what, value in shares.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{what} lies between 0 and 1, not {value}")


class Pipeline:
    """Answers questions from an index; every stage is an object of its protocol and can be exchanged."""

    def __init__(
        self,
        encoder: Encoder,
        index: Index,
        *,
        router: Router,
        grader: Grader,
        selector: Selector,
        allocator: Allocator,
        agents: Sequence[Agent],
        query_fit: QueryFit | None = None,
        settings: PipelineSettings | None = None,
    ) -> None:
        self.encoder = encoder
        self.index = index
        self.router = router
        self.grader = grader
        self.selector = selector
        self.allocator = allocator
        self.agents = tuple(agents)
        self.query_fit = query_fit
        self.settings = settings or PipelineSettings()

    @property
    def retriever(self) -> Retriever:
        """The first two stages alone, of the parts that are here now."""
        return Retriever(self.encoder, self.index, self.router, self.query_fit, self.settings.mode)

    def ask(
        self, question: str, *, where: Where | None = None, deadline: Deadline | None = None
    ) -> Answer:
        """Answer one question, with its trace.

        `where` restricts which passages are looked at. Raises QuestionError for a question without
        text or of more than 10,000 characters, EmptyCollectionError where nothing is indexed,
        DeadlineError.
        """
        return self.ask_many([question], where=where, deadline=deadline)[0]

    def ask_many(
        self,
        questions: Sequence[str],
        *,
        where: Where | None = None,
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        """Answer questions together: one encode, one search and one read for up to 256 of them.

        All questions are checked before the first is asked. A stage's seconds in a trace are the
        batch's seconds divided by its questions.
        """
        if isinstance(questions, str):
            raise TypeError("ask_many takes a sequence of questions, not one string")
        checked = [check_question(question) for question in questions]
        if checked:
            self.retriever.check_filled()
        answers: list[Answer] = []
        for start in range(0, len(checked), _TOGETHER):
            answers += self._together(checked[start : start + _TOGETHER], where, deadline)
        return answers

    def retrieve(
        self,
        questions: Sequence[str],
        k: int,
        *,
        where: Where | None = None,
        deadline: Deadline | None = None,
    ) -> list[list[Hit]]:
        """The first two stages alone; see `Retriever.retrieve`."""
        return self.retriever.retrieve(questions, k, where=where, deadline=deadline)

    def contexts(
        self,
        questions: Sequence[str],
        *,
        where: Where | None = None,
        deadline: Deadline | None = None,
    ) -> list[list[Passage]]:
        """The passages that agents would be shown for each question: the first four stages alone."""
        checked = [check_question(question) for question in questions]
        shown: list[list[Passage]] = []
        for start in range(0, len(checked), _TOGETHER):
            some = checked[start : start + _TOGETHER]
            shown += self._found(some, where, deadline, _Clock(len(some), deadline)).contexts
        return shown

    def _together(
        self, questions: list[str], where: Where | None, deadline: Deadline | None
    ) -> list[Answer]:
        clock = _Clock(len(questions), deadline)
        found = self._found(questions, where, deadline, clock)
        routing, hits, graded = found.routing, found.hits, found.graded
        selected, contexts = found.selected, found.contexts
        # Where nothing is relevant there is nothing to answer from, whatever that would have cost.
        answerable = [not each.nothing_left for each in graded]
        given = self._asking(questions, contexts, answerable, deadline)
        # What was answered is given, also where time was up meanwhile.
        reading = clock.lap()

        traced = []
        for i, each in enumerate(given):
            answer = each.answer
            ids = tuple(hit.passage.id for hit in hits[i])
            steps = (
                _route_step(routing, i, clock.seconds[0]),
                Step(
                    "retrieve",
                    ids,
                    tuple(hit.score for hit in hits[i]),
                    ids,
                    clock.seconds[1],
                    note=self._searched(routing, i, len(ids)),
                ),
                graded[i].step(self.grader.grades, self.settings.min_relevance, clock.seconds[2]),
                _select_step(graded[i].ids, selected[i], clock.seconds[3]),
                each.step,
                _read_step(
                    answer,
                    NOTHING_RELEVANT if graded[i].nothing_left else "",
                    reading - each.step.seconds,
                ),
            )
            traced.append(replace(answer, trace=Trace(steps)))
        return traced

    def _found(
        self,
        questions: Sequence[str],
        where: Where | None,
        deadline: Deadline | None,
        clock: _Clock,
    ) -> _Found:
        """The first four stages: what agents are shown."""
        retriever = self.retriever
        queries, routing = retriever.route(questions, deadline)
        clock.lap("routing")
        hits = retriever.search(queries, routing, self.settings.candidates, where, deadline)
        clock.lap("searching")
        said = self.grader.grade(
            questions, [[hit.passage for hit in row] for row in hits], deadline
        )
        graded = [self._ranked(row, each) for row, each in zip(hits, said, strict=True)]
        clock.lap("grading")
        selected = self.selector.select(
            questions,
            [each.passages for each in graded],
            [each.relevance for each in graded],
            deadline,
        )
        contexts = [chosen.of(each.passages) for each, chosen in zip(graded, selected, strict=True)]
        clock.lap("selecting")
        return _Found(routing, hits, graded, selected, contexts)

    def _searched(self, routing: Routing, i: int, found: int) -> str:
        """How question i was searched for, and how much more than usual its vectors counted."""
        note = f"{self.settings.mode}, {found} passages"
        if self.settings.mode == "hybrid" and routing.dense_shift is not None:
            shift = round(float(routing.dense_shift[i]), 2)
            note += f", vectors count {shift:+g}" if shift else ""
        return note

    def _ranked(self, hits: Sequence[Hit], graded: Graded) -> _Ranked:
        """One question's candidates, best first, and how many of them are relevant enough."""
        relevance = expected_relevance(graded.probabilities)
        if len(self.grader.grades) > 1:
            scores = [hit.score for hit in hits]
            order = best_first(relevance, scores, self.settings.relevance_weight)
        else:  # A single grade is no opinion: the order of retrieval stands, whatever it is.
            order = np.arange(len(hits))
        # Compared as it is kept: 0.9 in float32 is less than 0.9.
        kept = order[relevance[order] >= np.float32(self.settings.min_relevance)]
        return _Ranked(
            tuple((hits[i].passage, float(relevance[i])) for i in order),
            tuple(hits[i].passage for i in kept),
            relevance[kept],
            graded.gflops,
        )

    @property
    def _asking(self) -> Asking:
        settings = self.settings
        return Asking(
            self.agents, self.allocator, settings.price, settings.budget, settings.min_confidence
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the first four stages gave for a batch of questions."""

    routing: Routing
    hits: list[list[Hit]]
    graded: list[_Ranked]
    selected: list[Selection]
    contexts: list[list[Passage]]


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """A question's candidates with their relevance, best first; `passages` [m], of `relevance` [m],
    are those of them that are relevant enough, in the same order.
    """

    ranked: tuple[tuple[Passage, float], ...]
    passages: tuple[Passage, ...]
    relevance: FloatArray
    gflops: float

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(passage.id for passage in self.passages)

    @property
    def nothing_left(self) -> bool:
        """Something was found, and nothing of it is relevant enough."""
        return bool(self.ranked) and not self.passages

    def step(self, grades: Sequence[str], least: float, seconds: float) -> Step:
        note = ", ".join(grades)
        if len(self.passages) < len(self.ranked):
            note += f"; {len(self.passages)} of {len(self.ranked)} reach {least:g}"
        return Step(
            "grade",
            tuple(passage.id for passage, _ in self.ranked),
            # A single grade says nothing of any passage.
            tuple(relevance for _, relevance in self.ranked) if len(grades) > 1 else (),
            self.ids,
            seconds,
            Cost(gflops=self.gflops),
            note=note,
        )


class _Clock:
    """Seconds a question of each stage in turn, and the deadline between two of them."""

    def __init__(self, questions: int, deadline: Deadline | None) -> None:
        self.seconds: list[float] = []
        self._questions = questions
        self._deadline = deadline
        self._last = time.perf_counter()

    def lap(self, doing: str | None = None) -> float:
        """Seconds a question since the last lap. Raises DeadlineError where time is up while `doing` that."""
        now = time.perf_counter()
        self.seconds.append((now - self._last) / self._questions)
        self._last = now
        if doing is not None and self._deadline is not None:
            self._deadline.check(doing)
        return self.seconds[-1]


def _route_step(routing: Routing, i: int, seconds: float) -> Step:
    weights = routing.weights[i]
    order = np.argsort(-weights, kind="stable")
    return Step(
        "route",
        tuple(routing.experts[j] for j in order),
        tuple(float(weights[j]) for j in order),
        tuple(routing.experts[j] for j in order if weights[j] > 0),
        seconds,
    )


def _select_step(ids: Sequence[str], selected: Selection, seconds: float) -> Step:
    """What the reader sees in its order, then what it does not; as they came where nothing was weighed."""
    order, chances = selected.order.tolist(), selected.chances
    options, scores = list(range(len(ids))), tuple[float, ...]()
    if chances is not None:
        rest = sorted(set(options).difference(order), key=lambda i: -chances[i])
        options = order + rest
        scores = tuple(float(chances[i]) for i in options)
    return Step(
        "select",
        tuple(ids[i] for i in options),
        scores,
        tuple(ids[i] for i in order),
        seconds,
        Cost(gflops=selected.gflops),
        note=": ".join(filter(None, (f"{len(order)} of {len(ids)}", selected.reason))),
    )


def _read_step(answer: Answer, reason: str, seconds: float) -> Step:
    spans = [(shorten(span.text), span.probability) for span, _ in answer.alternatives]
    if answer.text:
        spans.insert(0, (shorten(answer.text), answer.confidence))
    note = answer.failure or ("abstained" if answer.abstained else "")
    return Step(
        "read",
        tuple(text for text, _ in spans),
        tuple(score for _, score in spans),
        (shorten(answer.text),) if answer.text else (),
        seconds,
        cost=answer.cost + Cost(seconds=seconds),
        note=": ".join(part for part in (answer.agent, note, reason) if part),
    )
