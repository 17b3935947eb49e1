"""The rows of the selection tables: who orders the passages, and how the reader was trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.experiments.selection.lab import Lab
from pointsman.joint.asked import Asked
from pointsman.joint.em import Iteration, best
from pointsman.joint.make import MEASURE
from pointsman.joint.recipe import Both, Trains
from pointsman.read.task import Part as ReaderPart
from pointsman.select.chooser import Policy
from pointsman.select.task import Part as SelectorPart
from pointsman.types import Selection

Choose = Callable[[str, Sequence[Asked]], list[Selection]]
"""A sample's name and its questions -> what the reader sees of each."""

PLAIN = "retrieval order"
BOUNDS = ("supporting passages", "supporting passages, reader on retrieval")
BOUND = BOUNDS[0]
APART = ("selector and reader apart", "the same, reader on retrieval", "the same, all marked")
DRO, OURS = "DRO", "ours"
GRADED, WEIGHED = "grader's order", ", beliefs read"
LOOKED = f"{OURS}: after a first look"
LINKED = "who names whom"


@dataclass(frozen=True, slots=True)
class System:
    """Who chooses, and who reads."""

    choose: Choose
    reader: ReaderPart


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables. `kind` is plain, control, paper, ours or bound."""

    name: str
    kind: str
    system: Callable[[int], System]


class Rows:
    """Makes the rows from a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def all(self) -> list[Row]:
        """Every row, the plain one first."""
        lab = self.lab
        every = "every set counted" if self.policy == "sets" else "the likeliest selections"
        apart, on_retrieval, marked = APART
        return [
            Row(PLAIN, "plain", lambda seed: System(self._first, lab.reader(seed))),
            Row("retrieval order, all read", "control", lambda s: System(_all, lab.reader(s))),
            Row(GRADED, "control", lambda seed: System(self._by_grade, lab.reader(seed))),
            Row("chance", "control", lambda s: System(self._chance(s), lab.reader(s))),
            Row(
                "reader on retrieval order",
                "control",
                lambda seed: System(self._first, lab.reader_on_retrieval(seed)),
            ),
            Row(apart, "control", lambda seed: self._of(self._apart(seed))),
            Row(
                on_retrieval,
                "control",
                lambda s: self._of(Both(lab.selector(s), lab.reader_on_retrieval(s))),
            ),
            *self._apart_together(),
            Row(marked, "control", lambda seed: self._of(lab.marked(seed))),
            *self._weighed(apart, "ours", lambda s: (self._apart(s), "pointer")),
            Row("DRO, reader as it was", "paper", lambda s: self._dro(s, trains="selector")),
            Row("DRO, selector as it was", "paper", lambda s: self._dro(s, trains="reader")),
            Row(DRO, "paper", self._dro),
            *self._linked(),
            *self._weighed(DRO, "ours", lambda s: (self._dro_both(s), "pointer")),
            Row(f"{OURS}: {every}", "ours", lambda s: self._of(self._ours(s), self.policy)),
            *self._weighed(f"{OURS}: {every}", "ours", lambda s: (self._ours(s), self.policy)),
            *self._looks(),
            Row(BOUND, "bound", lambda seed: System(_supporting, lab.reader(seed))),
            *self._bound_on_retrieval(),
            Row(f"{BOUND}, {OURS}", "bound", lambda s: System(_supporting, self._ours(s).reader)),
        ]

    @property
    def policy(self) -> Policy:
        """Ours: sets where passages are read one at a time, the likeliest selections otherwise."""
        return "pointer" if self.lab.settings.joined else "sets"

    def _apart(self, seed: int) -> Both:
        return Both(self.lab.selector(seed), self.lab.reader(seed))

    def _dro(self, seed: int, trains: Trains = "both") -> System:
        return self._of(self._dro_both(seed, trains))

    def _dro_both(self, seed: int, trains: Trains = "both") -> Both:
        return best(self.lab.together(seed, "pointer", trains=trains), MEASURE).both

    def _weighed(
        self, name: str, kind: str, system: Callable[[int], tuple[Both, Policy]]
    ) -> list[Row]:
        """The same, the reader told what the selector believes; not where it sees passages together."""
        if self.lab.settings.joined:
            return []
        return [Row(f"{name}{WEIGHED}", kind, lambda seed: self._of(*system(seed), belief=1.0))]

    def _looks(self) -> list[Row]:
        """After a first look: of the reader as it was, and of ours; not where it sees passages together.

        What ours says of the questions that it learned from is no measure of what it says of others.
        """
        lab = self.lab
        if lab.settings.joined:
            return []
        taught, together = lab.bed.taught, lab.bed.together

        def look(reader: ReaderPart, questions: Sequence[Asked]) -> System:
            return System(lambda name, asked: lab.look(reader, questions, name, asked), reader)

        return [
            Row(LOOKED, "ours", lambda seed: look(lab.reader(seed), [*taught, *together])),
            Row(
                f"{LOOKED}, reader too", "ours", lambda seed: look(self._ours(seed).reader, taught)
            ),
        ]

    def _apart_together(self) -> list[Row]:
        """Two other selectors apart where passages are read together: one that was not taught by the whole,
        and chooses as many as it may, and one that sees which candidates name one another.
        """
        lab = self.lab
        if not lab.settings.joined:
            return []

        def of(selector: Callable[[int], SelectorPart]) -> Callable[[int], System]:
            return lambda seed: self._of(Both(selector(seed), lab.reader_on_retrieval(seed)))

        return [
            Row("the same, of first choices", "control", of(lab.selector_of_first_choices)),
            Row(f"the same, {LINKED}", "control", of(lab.linked_selector)),
        ]

    def _linked(self) -> list[Row]:
        """The paper's way with a selector that sees which candidates name one another."""
        if not self.lab.settings.joined:
            return []

        def both(seed: int) -> Both:
            return best(self.lab.together(seed, "pointer", linked=True), MEASURE).both

        return [Row(f"{DRO}, {LINKED}", "ours", lambda seed: self._of(both(seed)))]

    def _bound_on_retrieval(self) -> list[Row]:
        """What is best of all where the questions that teach the two together are what a reader lacks: one
        that sees passages together has learned from few.
        """
        if not self.lab.settings.joined:
            return []
        return [
            Row(
                BOUNDS[1],
                "bound",
                lambda seed: System(_supporting, self.lab.reader_on_retrieval(seed)),
            )
        ]

    def ours(self, seed: int) -> list[Iteration]:
        """All iterations of ours: of every set, or of the likeliest selections of candidates that are seen to
        name one another.
        """
        if self.policy == "sets":
            return self.lab.together(seed, "sets")
        return self.lab.together(seed, "pointer", looks="likeliest", linked=True)

    def _ours(self, seed: int) -> Both:
        return best(self.ours(seed), MEASURE).both

    def _of(self, both: Both, policy: Policy = "pointer", belief: float = 0.0) -> System:
        return System(
            lambda name, asked: self.lab.choose(both.selector, policy, name, asked, belief),
            both.reader,
        )

    def _by_grade(self, name: str, asked: Sequence[Asked]) -> list[Selection]:
        return [ordered(np.argsort(-e.relevance, kind="stable"), self.lab.passages) for e in asked]

    def _first(self, name: str, asked: Sequence[Asked]) -> list[Selection]:
        return [ordered(range(len(each.passages)), self.lab.passages) for each in asked]

    def _chance(self, seed: int) -> Choose:
        def choose(name: str, asked: Sequence[Asked]) -> list[Selection]:
            generator = np.random.default_rng(seed)
            return [
                ordered(generator.permutation(len(each.passages)), self.lab.passages)
                for each in asked
            ]

        return choose


def _all(name: str, asked: Sequence[Asked]) -> list[Selection]:
    return [ordered(range(len(each.passages))) for each in asked]


def _supporting(name: str, asked: Sequence[Asked]) -> list[Selection]:
    """What is known to support the answer, where it was found; else what retrieval puts first."""
    return [_these(each.supporting or range(min(1, len(each.passages)))) for each in asked]


def ordered(order: Iterable[int], most: int | None = None) -> Selection:
    """The first so many of an order of all candidates; the others stay as likely as they stand there."""
    places = np.array(list(order), dtype=np.int64)
    chances = np.empty(len(places), dtype=np.float32)
    chances[places] = 1.0 / np.arange(1, len(places) + 1)
    return Selection(places[:most], chances)


def _these(places: Iterable[int]) -> Selection:
    return Selection(np.array(list(places), dtype=np.int64))
