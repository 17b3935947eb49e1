"""The rows of the selection tables: who orders the passages, and how the reader was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.experiments.selection.lab import READ, Lab
from pointsman.joint.asked import Asked
from pointsman.joint.em import best
from pointsman.joint.make import MEASURE
from pointsman.read.task import Part as ReaderPart
from pointsman.select.chooser import Policy
from pointsman.types import Selection

Choose = Callable[[str, Sequence[Asked]], list[Selection]]
"""A sample's name and its questions -> what the reader sees of each."""

APART = "selector and reader apart"
BOUND = "supporting passages"


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
        return [
            Row("retrieval order", "plain", lambda seed: System(_first, lab.reader(seed))),
            Row("retrieval order, all read", "control", self._everything),
            Row("chance", "control", self._chance),
            Row(APART, "control", lambda seed: self._apart(seed, lab.reader(seed))),
            Row(
                "reader on retrieval order",
                "control",
                lambda seed: System(_first, lab.reader_on_retrieval(seed)),
            ),
            Row(
                "the same, selector apart",
                "control",
                lambda seed: self._apart(seed, lab.reader_on_retrieval(seed)),
            ),
            Row(
                "DRO, reader as it was", "paper", lambda s: self._together("pointer", s, "selector")
            ),
            Row(
                "DRO, selector as it was", "paper", lambda s: self._together("pointer", s, "reader")
            ),
            Row("DRO", "paper", lambda seed: self._together("pointer", seed, "both")),
            Row("ours: every set", "ours", lambda seed: self._together("sets", seed, "both")),
            Row(BOUND, "bound", lambda seed: System(_supporting, lab.reader(seed))),
        ]

    def _everything(self, seed: int) -> System:
        def choose(name: str, asked: Sequence[Asked]) -> list[Selection]:
            return [Selection(np.arange(len(each.passages), dtype=np.int64)) for each in asked]

        return System(choose, self.lab.reader(seed))

    def _chance(self, seed: int) -> System:
        def choose(name: str, asked: Sequence[Asked]) -> list[Selection]:
            generator = np.random.default_rng(seed)
            return [
                Selection(generator.permutation(len(each.passages))[:READ].astype(np.int64))
                for each in asked
            ]

        return System(choose, self.lab.reader(seed))

    def _apart(self, seed: int, reader: ReaderPart) -> System:
        part = self.lab.selector(seed, "pointer")
        return System(lambda name, asked: self.lab.choose(part, "pointer", name, asked), reader)

    def _together(self, policy: Policy, seed: int, trains: str) -> System:
        both = best(self.lab.together(policy, seed, trains), MEASURE).both  # type: ignore[arg-type]
        return System(
            lambda name, asked: self.lab.choose(both.selector, policy, name, asked), both.reader
        )


def _first(name: str, asked: Sequence[Asked]) -> list[Selection]:
    return [Selection(np.arange(min(READ, len(each.passages)), dtype=np.int64)) for each in asked]


def _supporting(name: str, asked: Sequence[Asked]) -> list[Selection]:
    """What is known to support the answer, where it was found; else what retrieval puts first."""
    return [
        Selection(np.array(each.supporting or range(min(1, len(each.passages))), dtype=np.int64))
        for each in asked
    ]
