"""Questions that every agent answered, and which of the answers are right: what allocators learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pointsman.data.splits import normalise
from pointsman.defer.allocator import shown
from pointsman.defer.record import Record, Show, collect
from pointsman.errors import InputError
from pointsman.evaluate.groups import numbered
from pointsman.evaluate.reading import exact_match, f1
from pointsman.protocols import Agent
from pointsman.types import Passage

Measure = Literal["em", "f1"]
"""How right an answer is: by exact match, or by its words, so that its error is 1 - F1."""

LEAST = 100
FOLDS = 5
LEAST_SOURCES = 2 * FOLDS

_SCORES: Mapping[Measure, Callable[[str, Sequence[str]], float]] = {"em": exact_match, "f1": f1}


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """n questions with their passages as one text each, what the A agents said, how `right` it was [n, A],
    in [0, 1] by the `measure`, and `clusters` [n], whose questions are never on both sides. `models` is by
    which digest each agent's model is known, empty where nobody says.
    """

    agents: tuple[str, ...]
    questions: Sequence[str]
    contexts: Sequence[Sequence[Passage]]
    texts: Sequence[str]
    record: Record
    right: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]
    models: Mapping[str, str] = field(default_factory=dict)
    measure: Measure = "em"

    @property
    def folds(self) -> npt.NDArray[np.int64]:
        """The fold [n] of each question; a cluster's are in one."""
        return self.clusters % FOLDS


def ask_everybody(
    agents: Sequence[Agent],
    questions: Sequence[str],
    contexts: Sequence[Sequence[Passage]],
    answers: Sequence[Sequence[str]],
    sources: Sequence[str],
    kept: Path,
    show: Show,
    known_by: Sequence[str] | None = None,
    at_once: Sequence[int] | None = None,
    measure: Measure = "em",
) -> Answered:
    """Ask every agent every question; what it says is kept in the file `kept`; `known_by` and `at_once` are
    as in `collect`. Where a question has no `answers`, to say nothing is right, and to fail is not.

    `sources` names what each question is about, an article or a paragraph. Raises InputError for one
    agent only, where nothing can be chosen, for fewer than a hundred questions and for too few sources;
    what `collect` raises.
    """
    names = tuple(agent.name for agent in agents)
    if len(agents) < 2:
        raise InputError(
            f"there is one agent only, {names[0] if names else 'none'}, and so nothing to choose; "
            "put another one under `agents:` in the settings"
        )
    if len(questions) < LEAST:
        raise InputError(f"{len(questions)} questions are too few to learn from; {LEAST} at least")
    clusters = numbered(normalise(text) for text in sources)
    if (count := int(clusters.max()) + 1) < LEAST_SOURCES:
        raise InputError(
            f"these questions are about {count} passages; give questions about {LEAST_SOURCES} or more"
        )
    record = collect(agents, questions, contexts, kept, show, None, known_by, at_once)
    right = np.array(
        [
            [_right(text, golden, measure) for text in row]
            for row, golden in zip(record.texts, answers, strict=True)
        ]
    )
    right[record.failed] = 0
    texts, known = [shown(row) for row in contexts], models(names, known_by or ())
    return Answered(names, questions, contexts, texts, record, right, clusters, known, measure)


def _right(text: str | None, golden: Sequence[str], measure: Measure) -> float:
    """How right an answer is, and nothing where none is wanted."""
    if text is None:
        return float(not golden)
    return _SCORES[measure](text, golden)


def models(agents: Sequence[str], known_by: Sequence[str]) -> dict[str, str]:
    """Each agent's model by a digest of what its answers depend on; empty where that is not said."""
    return {
        name: hashlib.sha256(said.encode()).hexdigest()[:16]
        for name, said in zip(agents, known_by, strict=bool(known_by))
    }
