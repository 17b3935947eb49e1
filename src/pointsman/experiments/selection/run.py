"""The selection experiment as a whole: load, train apart and together, measure. Every step is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.evaluate.tables import Table
from pointsman.experiments.report import Report, Show, named, silent
from pointsman.experiments.selection.bed import Bed, Sizes, graded, load, retrievals
from pointsman.experiments.selection.estimator import estimator_table
from pointsman.experiments.selection.hops import SAID, load_folds
from pointsman.experiments.selection.lab import Lab, Plans, joined, usual
from pointsman.experiments.selection.outcomes import Arrays, Outcomes
from pointsman.experiments.selection.routed import routed_table
from pointsman.experiments.selection.rows import DRO, OURS, Row, Rows
from pointsman.experiments.selection.studies import CANDIDATES, QUESTIONS, WAYS, Studies
from pointsman.experiments.selection.tables import (
    MEASURES,
    Found,
    difference_table,
    iteration_table,
    main_table,
    recall_table,
)
from pointsman.grade.relevance import expected_relevance
from pointsman.joint.asked import Asked, digest, with_relevance
from pointsman.joint.em import Iteration
from pointsman.joint.measures import Floats, Measured
from pointsman.protocols import Grader
from pointsman.read.marginal import reader_of
from pointsman.read.task import Part as ReaderPart
from pointsman.route.expert import Expert
from pointsman.types import FloatArray

Passages = Literal["one", "several"]
Tests = Mapping[str, Sequence[Asked]]
MEASURING = 1
"""Goes up whenever the same questions, plans and weights would give other outcomes."""

Keep = Callable[[object], Outcomes]
"""All that outcomes depend on -> what keeps them."""


def run(
    data: Path,
    backbone: Backbone,
    reader: ReaderPart,
    folder: Path,
    *,
    fast: Backbone | None = None,
    grader: Grader | None = None,
    graded_by: str = "",
    experts: Sequence[Expert] = (),
    sizes: Sizes | None = None,
    plans: Plans | None = None,
    seeds: int = 3,
    limit: int | None = None,
    only: Sequence[str] | None = None,
    passages: Collection[Passages] = get_args(Passages),
    outcomes: Path | None = None,
    studies: bool = True,
    show: Show | None = None,
) -> Report:
    """All rows on the tests by so many seeds, from a reader that has learned to read.

    `folder` keeps what is trained and measured; the same call goes on from there. `fast` measures, an
    encoder of the same weights that need not train. Selectors look at the `grader`'s grades; `graded_by`
    tells it from another. Of `experts` a router is learned from answers. What stands in the folder
    `outcomes` is not measured again, and what is measured is put there. `passages` says which questions:
    those that take one passage, or several. `limit` bounds each test's questions, and those of each file
    of those that take several. `only` names the rows, and leaves out what else there is to say of them.
    Raises InputError for a name that no row has.
    """
    show = show or silent
    sizes = sizes or Sizes()
    plans = plans or usual(backbone)
    fast = fast or backbone
    cache = ArrayCache(folder / "said")

    def relevance(name: str, asked: Sequence[Asked]) -> Sequence[FloatArray]:
        if grader is None or not asked:
            return [each.relevance for each in asked]
        # Another grader says something else of the first question.
        probe = grader.grade([asked[0].question], [asked[0].passages])[0].probabilities

        def grade() -> FloatArray:
            show(f"grading the candidates of {name}", 0, len(asked))
            found = grader.grade(
                [each.question for each in asked], [each.passages for each in asked]
            )
            return np.concatenate([expected_relevance(each.probabilities) for each in found])

        said = cache.get(f"graded-{name}", (probe.round(2).tolist(), digest(asked)), grade)
        return np.split(said, np.cumsum([len(each.passages) for each in asked])[:-1])

    def lab_of(bed: Bed, plans: Plans) -> Lab:
        return Lab(bed, backbone, reader, plans, folder / "runs", cache, show, fast)

    def keep(kind: str) -> Keep:
        where = outcomes or folder / "outcomes"
        return lambda depends: Outcomes(where, kind, (MEASURING, graded_by, depends))

    labs: dict[Passages, list[Lab]] = {}
    if "one" in passages:
        sizes = replace(sizes, test=limit) if limit else sizes
        labs["one"] = [lab_of(graded(load(data, fast, sizes, show), relevance), plans)]
    if "several" in passages:
        beds = [graded(each, relevance) for each in load_folds(data, fast, limit)]
        labs["several"] = [lab_of(each, joined(plans)) for each in beds]
    # Each kind of questions has rows of its own.
    rows = {kind: [Rows(lab).all() for lab in mine] for kind, mine in labs.items()}
    wanted = {row.name for row in named([r for mine in rows.values() for r in mine[0]], only)}
    parts: dict[str, _Part] = {}
    for kind, mine in labs.items():
        these = [[row for row in each if row.name in wanted] for each in rows[kind]]
        if these[0]:
            prefix = "" if kind == "one" else "several passages: "
            parts[prefix] = _Part(mine, these, seeds, keep(kind), show)
    times = "1 seed" if seeds == 1 else f"{seeds} seeds"
    tables: list[Table] = []
    for prefix, part in parts.items():
        for name, asked in part.tests.items():
            title, found = f"{prefix}{name}", part.found[name]
            # That a passage says "no" somewhere does not make it hold the answer.
            spans = name != SAID
            tables += [
                main_table(f"{title}, {times}", asked, found, spans=spans),
                difference_table(f"{title}: differences", asked, found),
            ]
            if spans:
                tables.append(recall_table(f"{title}: answers in the first passages", asked, found))
        if only is None:
            tables.append(iteration_table(f"{prefix}iterations, on dev", part.histories()))
    single = parts[""].labs[0] if "" in parts else None
    if single is not None and only is None:
        tables.append(estimator_table(single))
    if single is not None and studies and only is None:
        searched = retrievals(data, fast, limit or QUESTIONS, max(CANDIDATES), show)
        graded_searches = {
            mode: with_relevance(asked, relevance(WAYS[mode], asked))
            for mode, asked in searched.items()
        }
        # Of the last seed: with outcomes of earlier ones at hand, the one that is trained here anyway.
        tables += Studies(single, graded_searches, seeds - 1).all()
        if experts:
            reading = reader_of(fast, reader, plans.together.reader)
            tables.append(routed_table(data, fast, reading, experts, show))
    details = {
        "sizes": sizes,
        "plans": plans,
        "questions": {
            f"{prefix}{name}": count
            for prefix, part in parts.items()
            for name, count in part.counts().items()
        },
    }
    return Report(tuple(tables), details)


class _Part:
    """One kind of questions: a lab, or one a fold, whose tests' questions are put together; `rows` has those
    of each lab.
    """

    def __init__(
        self,
        labs: Sequence[Lab],
        rows: Sequence[Sequence[Row]],
        seeds: int,
        keep: Keep,
        show: Show,
    ) -> None:
        self.labs = labs
        self.seeds = seeds
        self._outcomes = keep([lab.depends for lab in labs])
        names = list(labs[0].bed.tests)
        self.tests: Tests = {
            name: [each for lab in labs for each in lab.bed.tests[name]] for name in names
        }
        of_rows: dict[str, list[list[Measured]]] = {name: [[] for _ in rows[0]] for name in names}
        # Seed by seed, so that what is there when it is stopped is whole.
        for seed in range(seeds):
            for number, row in enumerate(rows[0]):

                def measure(number: int = number, seed: int = seed) -> Arrays:
                    folds = [
                        _measured(lab, mine[number], seed, show)
                        for lab, mine in zip(labs, rows, strict=True)
                    ]
                    return {
                        name: together([each[name] for each in folds]).columns for name in names
                    }

                found = self._outcomes.get(seed, row.name, measure)
                for name in names:
                    of_rows[name][number].append(Measured.of(found[name]))
        self.found = {
            name: [Found(row, each) for row, each in zip(rows[0], of_rows[name], strict=True)]
            for name in names
        }

    def counts(self) -> dict[str, int]:
        """Questions of each sample, of the first fold, and of the tests in all."""
        bed = self.labs[0].bed
        found = {"taught": len(bed.taught), "together": len(bed.together), "dev": len(bed.dev)}
        return found | {name: len(asked) for name, asked in self.tests.items()}

    def histories(self) -> Mapping[str, Sequence[Floats]]:
        """Dev's measures at all iterations [n, MEASURES] of the paper's way and of ours, of every fold and
        seed.
        """
        return {
            DRO: self._iterations(DRO, lambda lab, seed: lab.together(seed, "pointer")),
            OURS: self._iterations(OURS, lambda lab, seed: Rows(lab).ours(seed)),
        }

    def _iterations(
        self, row: str, train: Callable[[Lab, int], Sequence[Iteration]]
    ) -> list[Floats]:
        def make(seed: int) -> Arrays:
            return {
                str(i): np.array(
                    [[each.measures[name] for name in MEASURES] for each in train(lab, seed)]
                )
                for i, lab in enumerate(self.labs)
            }

        return [
            each.astype(np.float64)
            for seed in range(self.seeds)
            for each in self._outcomes.get(
                seed, f"iterations of {row}", partial(make, seed)
            ).values()
        ]


def _measured(lab: Lab, row: Row, seed: int, show: Show) -> Mapping[str, Measured]:
    show(f"seed {seed}: {row.name}", 0, 1)
    system = row.system(seed)
    return {
        name: lab.measured(row.name, name, asked, system.choose(name, asked), system.reader)
        for name, asked in lab.bed.tests.items()
    }


def together(parts: Sequence[Measured]) -> Measured:
    """What was measured of several samples as of one."""

    def joined(what: str) -> np.ndarray:
        return np.concatenate([getattr(each, what) for each in parts])

    return Measured(
        joined("em"),
        joined("f1"),
        {k: np.concatenate([each.recall[k] for each in parts]) for k in parts[0].recall},
        joined("precision"),
        joined("found"),
        joined("passages"),
        joined("held"),
    )
