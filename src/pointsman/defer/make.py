"""The whole way to an allocator: ask everybody everything, learn from the record, measure, save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.data.splits import normalise
from pointsman.defer.abstain import NEVER, threshold
from pointsman.defer.allocator import Judge, before, shown
from pointsman.defer.before import Directions
from pointsman.defer.candidates import Said, said
from pointsman.defer.card import allocator_card
from pointsman.defer.cascade import Cascade, stations
from pointsman.defer.record import Show, collect
from pointsman.defer.saved import check_allocator_replaceable, save_allocator
from pointsman.errors import InputError
from pointsman.evaluate.groups import numbered
from pointsman.evaluate.reading import exact_match
from pointsman.protocols import Agent
from pointsman.types import FloatArray, Passage

LEAST = 100
PRICES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PROMISES = (0.05, 0.1, 0.2)

_FOLDS = 5
_INNER = 3
LEAST_SOURCES = 2 * _FOLDS
# So many questions are looked at together: what is read of them lies in memory.
_LOOKED_AT = 64


@dataclass(frozen=True, slots=True)
class Promise:
    """So that at most a share `error` of the given answers is wrong, none is given whose chance is below
    `least`; a share `answered` of the questions has one. None and 0 where that cannot be promised.
    """

    error: float
    least: float | None
    answered: float


@dataclass(frozen=True, slots=True)
class AtPrice:
    """What came of a price: the share of right answers, what all that were asked took, the dearest agent 1,
    and the shares of the questions that each was `asked`.
    """

    price: float
    right: float
    cost: float
    asked: tuple[float, ...]
    promises: tuple[Promise, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What came of it: how often each agent is right, and the cascade `at` each price, cross-fitted."""

    folder: Path
    questions: int
    right: tuple[float, ...]
    at: tuple[AtPrice, ...]
    failures: tuple[int, ...]


def make_allocator(
    backbone: Backbone,
    agents: Sequence[Agent],
    units: Sequence[float],
    questions: Sequence[str],
    contexts: Sequence[Sequence[Passage]],
    answers: Sequence[Sequence[str]],
    sources: Sequence[str],
    kept: Path,
    folder: Path,
    *,
    data: str,
    command: str,
    show: Show,
    judge: Judge | None = None,
) -> Made:
    """Train a cascade among these agents on questions with known `answers`, and save it to `folder`.

    Every agent is asked every question first, and what it says is kept in the file `kept`; a `judge`
    looks at the passages for each answer. `sources` names what each question is about, an article or a
    paragraph: questions about one are never on both sides. `units` [A]
    is what each takes, for what is measured; the allocator itself serves any. Raises InputError for one
    agent only, where nothing can be chosen, for fewer than a hundred questions and for too few passages; what `collect` and
    `save_allocator` raise.
    """
    names = [agent.name for agent in agents]
    if len(agents) < 2:
        raise InputError(
            f"there is one agent only, {names[0] if names else 'none'}, and so nothing to choose; "
            "put another one under `agents:` in the settings"
        )
    if len(questions) < LEAST:
        raise InputError(f"{len(questions)} questions are too few to learn from; {LEAST} at least")
    texts = [shown(row) for row in contexts]
    clusters = numbered(normalise(text) for text in sources)
    if (count := int(clusters.max()) + 1) < LEAST_SOURCES:
        raise InputError(
            f"these questions are about {count} passages; give questions about {LEAST_SOURCES} or more"
        )
    check_allocator_replaceable(folder)
    record = collect(agents, questions, contexts, kept, show)
    looked = None
    if judge is not None:
        parts = []
        for start in range(0, len(questions), _LOOKED_AT):
            show("looking at the passages", start, len(questions))
            some = slice(start, start + _LOOKED_AT)
            parts.append(judge(questions[some], contexts[some], record.texts[some]))
        looked = np.concatenate(parts)
    given = said(questions, texts, record.texts, record.sure, looked)
    right = np.array(
        [
            [float(text is not None and exact_match(text, golden)) for text in row]
            for row, golden in zip(record.texts, answers, strict=True)
        ]
    )
    show("encoding", 0, len(questions))
    vectors = before(backbone, questions, contexts)
    show("learning", 0, _FOLDS + 1)
    at = _crossed(given, vectors, right, clusters, np.asarray(units, dtype=np.float64), show)
    show("learning", _FOLDS, _FOLDS + 1)
    directions, cascade = _learned(given, vectors, right, clusters, units)
    made = Made(folder, len(questions), tuple(right.mean(axis=0).tolist()), at, record.failures)
    numbers: dict[str, Any] = {
        "looks": judge is not None,
        "training": {"command": command, "data": data, "questions": len(questions)},
        "numbers": {
            "right": dict(zip(names, made.right, strict=True)),
            "failures": dict(zip(names, record.failures, strict=True)),
            "cost": record.mean_cost().tolist(),
            "at": [asdict(each) for each in at],
        },
    }
    card = allocator_card(folder.name, names, numbers)
    save_allocator(folder, backbone, names, directions, cascade, numbers, card)
    return made


def _learned(
    given: Said,
    vectors: FloatArray,
    right: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.int64],
    units: Sequence[float],
) -> tuple[Directions, Cascade]:
    directions = Directions.of(vectors)
    parts = np.unique(clusters, return_inverse=True)[1] % _INNER
    known = directions(vectors)
    return directions, Cascade.learn(given, known, right, parts, stations(list(units)))


def _crossed(
    given: Said,
    vectors: FloatArray,
    right: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.int64],
    units: npt.NDArray[np.float64],
    show: Show,
) -> tuple[AtPrice, ...]:
    """At each price what came of questions whose passages the cascade did not learn from."""
    folds = clusters % _FOLDS
    unit = units / (units.max() or 1.0)
    got, chance = np.zeros((2, len(PRICES), len(right)))
    asked = np.zeros((len(PRICES), *right.shape), dtype=bool)
    for number, fold in enumerate(np.unique(folds)):
        show("measuring", number, _FOLDS)
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        directions, cascade = _learned(
            given.take(train), vectors[train], right[train], clusters[train], units.tolist()
        )
        known = directions(vectors[test])
        for p, price in enumerate(PRICES):
            found = cascade.ask(given.take(test), known, unit, price)
            got[p, test] = right[test, found.choice]
            chance[p, test] = found.chance
            asked[p, test] = found.seen
    return tuple(
        AtPrice(
            price,
            float(got[p].mean()),
            float((asked[p] @ unit).mean()),
            tuple(asked[p].mean(axis=0).tolist()),
            tuple(_promise(chance[p], got[p], error, clusters) for error in PROMISES),
        )
        for p, price in enumerate(PRICES)
    )


def _promise(
    chance: npt.NDArray[np.float64],
    got: npt.NDArray[np.float64],
    error: float,
    clusters: npt.NDArray[np.int64],
) -> Promise:
    """By questions that the chances were not learned from; questions about one passage count together."""
    least = threshold(chance, got, error, clusters=clusters)
    if least == NEVER:
        return Promise(error, None, 0.0)
    return Promise(error, least, float((chance >= least).mean()))
