"""What selection depends on: how many candidates, how they were found, what a selector is made of, what
it takes. Of one seed, on test questions about articles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.selection.lab import Begins, Lab
from pointsman.experiments.selection.rows import APART, BOUND, DRO, GRADED, OURS, PLAIN, Row, Rows
from pointsman.joint.asked import Asked
from pointsman.joint.em import best
from pointsman.joint.looking import LookingSelector, LookSettings
from pointsman.joint.make import MEASURE, WIDTH
from pointsman.joint.measures import Measured
from pointsman.protocols import Selector
from pointsman.read.marginal import reader_of
from pointsman.read.reader import SpanReader
from pointsman.read.task import Part as ReaderPart
from pointsman.select.looked import FEATURES, Choice
from pointsman.select.selector import SelectorSettings
from pointsman.select.task import Part as SelectorPart
from pointsman.select.task import selector_of
from pointsman.types import Mode

CANDIDATES = (5, 10, 20, 50)
QUESTIONS = 150
WIDTHS = (16, 64, 128, 256)

_TIMED = 40
WAYS: Mapping[Mode, str] = {
    "hybrid": "words and vectors",
    "dense": "vectors alone",
    "bm25": "words alone",
}


@dataclass(frozen=True)
class Studies:
    """The studies of a lab with one seed; `found` are the same questions with most candidates, by mode."""

    lab: Lab
    found: Mapping[Mode, Sequence[Asked]]
    seed: int = 0

    def all(self) -> list[Table]:
        """Every table."""
        return [self.candidates(), self.retrieval(), self.selectors(), self.times()]

    def candidates(self) -> Table:
        """More candidates hold more answers, and more that mislead."""
        rows = self._rows()
        return self._table(
            "How many candidates",
            "candidates",
            {
                (row, str(n)): self._measured(each, f"{n} candidates", n, self.found["hybrid"])
                for row, each in rows.items()
                for n in CANDIDATES
            },
        )

    def retrieval(self) -> Table:
        """Whether a selector makes up for a search that is worse."""
        return self._table(
            "How candidates are found, twenty of them",
            "search",
            {
                (row, said): self._measured(each, said, 20, self.found[mode])
                for row, each in self._rows().items()
                for mode, said in WAYS.items()
            },
        )

    def selectors(self) -> Table:
        """What a selector is made of, and whether it has to be taught before."""
        lab, seed = self.lab, self.seed
        reader = lab.reader(seed)
        made: dict[str, Callable[[], SelectorPart]] = {
            f"apart, head of {width} alone": lambda width=width: lab.head_alone(seed, width)  # type: ignore[misc]
            for width in WIDTHS
        }
        made[APART[0]] = lambda: lab.selector(seed)
        made["DRO without a teacher, head alone"] = lambda: _kept(lab, seed, "nothing")
        made[f"DRO after a head of {WIDTH} alone"] = lambda: _kept(lab, seed, "head")
        made["DRO, reader as it was"] = lambda: _kept(lab, seed, "apart")
        found = {
            (name, "20"): self._told(name, make(), reader, self._first(20, self.found["hybrid"]))
            for name, make in made.items()
        }
        return self._table("What a selector is made of", "candidates", found)

    def times(self) -> Table:
        """Seconds and multiplications of one question, each in turn on the same questions."""
        lab, seed = self.lab, self.seed
        asked = self._first(20, self.found["hybrid"])[:_TIMED]
        questions = [each.question for each in asked]
        whole = [each.passages for each in asked]
        relevance = [each.relevance for each in asked]
        settings: SelectorSettings = lab.recipe("pointer").selector
        ways: dict[str, Callable[[], float]] = {}

        def reads(count: int) -> Callable[[], float]:
            def go() -> float:
                reader = reader_of(lab.fast, lab.reader(seed), lab.settings)
                given = [passages[:count] for passages in whole]
                return float(np.mean([each.gflops for each in reader.read(questions, given)]))

            return go

        def selects(make: Callable[[SpanReader], Selector]) -> Callable[[], float]:
            def go() -> float:
                reader = reader_of(lab.fast, lab.reader(seed), lab.settings)
                chosen = make(reader).select(questions, whole, relevance)
                given = [each.of(passages) for each, passages in zip(chosen, whole, strict=True)]
                read = reader.read(questions, given)
                both = zip(chosen, read, strict=True)
                return float(np.mean([one.gflops + other.gflops for one, other in both]))

            return go

        ways["the first 5 of retrieval read"] = reads(lab.passages)
        ways["all 20 read"] = reads(20)
        ways["selected among 20, those read"] = selects(
            lambda _: selector_of(lab.fast, lab.selector(seed), settings)
        )
        # By any weights: what a look takes is the same.
        look, choice = LookSettings(lab.passages, lab.settings), Choice(np.zeros(len(FEATURES)))
        ways["after a first look at 20, 5 read"] = selects(
            lambda reader: LookingSelector(reader, choice, look)
        )
        cells: list[list[Cell]] = []
        for go in ways.values():  # whoever is first warms everything up
            go()
        for name, go in ways.items():
            start = time.perf_counter()
            gflops = go()
            cells.append([name, (time.perf_counter() - start) / len(asked), gflops])
        columns: list[Column | str] = ["way", Column("seconds a question", decimals=3), "GFLOPs"]
        note = f"{len(asked)} questions together, on the machine that made the other tables; grading not counted."
        return Table("What a question takes", columns, cells, [note])

    def _rows(self) -> dict[str, Row]:
        """The plain order, the grader's, the selector apart, DRO and ours, and what supports an answer."""
        every = {row.name: row for row in Rows(self.lab).all()}
        names = [PLAIN, GRADED, APART[0], DRO]
        names += [name for name in every if name.startswith(OURS)]
        return {name: every[name] for name in (*names, BOUND)}

    def _measured(self, row: Row, name: str, candidates: int, asked: Sequence[Asked]) -> Measured:
        some = self._first(candidates, asked)
        system = row.system(self.seed)
        return self.lab.measured(row.name, name, some, system.choose(name, some), system.reader)

    def _told(
        self, name: str, part: SelectorPart, reader: ReaderPart, asked: Sequence[Asked]
    ) -> Measured:
        chosen = self.lab.choose(part, "pointer", name, asked)
        return self.lab.measured(name, name, asked, chosen, reader)

    def _first(self, candidates: int, asked: Sequence[Asked]) -> list[Asked]:
        return [each.first(candidates) for each in asked]

    def _table(self, title: str, what: str, found: Mapping[tuple[str, str], Measured]) -> Table:
        columns: list[Column | str] = [
            "row",
            what,
            Column("EM", scale=100),
            Column("F1", scale=100),
        ]
        columns += [Column("answer in the first", scale=100), Column("in the first 5", scale=100)]
        columns.append(Column("passages read", decimals=2))
        cells: list[list[Cell]] = []
        for (row, value), each in found.items():
            line: list[Cell] = [row, value, float(each.em.mean()), float(each.f1.mean())]
            line += [float(each.recall[k].mean()) for k in (1, 5)]
            cells.append([*line, float(each.passages.mean())])
        count = len(next(iter(found.values())).em)
        note = f"{count} test questions about articles, seed {self.seed}: no more than a look."
        return Table(title, columns, cells, [note])


def _kept(lab: Lab, seed: int, begins: Begins) -> SelectorPart:
    history = lab.together(seed, "pointer", begins=begins, trains="selector")
    return best(history, MEASURE).both.selector
