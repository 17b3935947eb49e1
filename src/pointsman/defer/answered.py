"""Questions that every agent answered, and which of the answers are right: what allocators learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.data.splits import normalise
from pointsman.defer.allocator import shown
from pointsman.defer.record import Record, Show, collect
from pointsman.errors import InputError
from pointsman.evaluate.groups import numbered
from pointsman.evaluate.reading import exact_match
from pointsman.protocols import Agent
from pointsman.types import Passage

LEAST = 100
FOLDS = 5
LEAST_SOURCES = 2 * FOLDS


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """n questions with their passages as one text each, what the A agents said, whether it was `right`
    [n, A], and `clusters` [n], whose questions are never on both sides. `models` is by which digest each
    agent's model is known, empty where nobody says.
    """

    agents: tuple[str, ...]
    questions: Sequence[str]
    contexts: Sequence[Sequence[Passage]]
    texts: Sequence[str]
    record: Record
    right: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]
    models: Mapping[str, str] = field(default_factory=dict)

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
) -> Answered:
    """Ask every agent every question; what it says is kept in the file `kept`; `known_by` and `at_once` are
    as in `collect`.

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
            [float(text is not None and exact_match(text, golden)) for text in row]
            for row, golden in zip(record.texts, answers, strict=True)
        ]
    )
    texts = [shown(row) for row in contexts]
    return Answered(
        names, questions, contexts, texts, record, right, clusters, models(names, known_by or ())
    )


def models(agents: Sequence[str], known_by: Sequence[str]) -> dict[str, str]:
    """Each agent's model by a digest of what its answers depend on; empty where that is not said."""
    return {
        name: hashlib.sha256(said.encode()).hexdigest()[:16]
        for name, said in zip(agents, known_by, strict=bool(known_by))
    }
