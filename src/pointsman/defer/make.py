"""The way to an allocator that looks first: learn from what everybody answered, measure, save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.defer.abstain import NEVER, threshold
from pointsman.defer.allocator import Judge, before
from pointsman.defer.answered import FOLDS, Answered
from pointsman.defer.before import Directions
from pointsman.defer.candidates import Said, said
from pointsman.defer.card import allocator_card
from pointsman.defer.cascade import Cascade
from pointsman.defer.cost import Pricing, Unit
from pointsman.defer.record import Show
from pointsman.defer.saved import check_allocator_replaceable, save_allocator
from pointsman.defer.stations import stations
from pointsman.evaluate.significance import Interval, bootstrap_interval
from pointsman.types import FloatArray

PRICES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PROMISES = (0.05, 0.1, 0.2)

_INNER = 3
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
    and the shares of the questions that each was `asked`. `gain` is how much more that is worth, right
    answers (an error weighs α) less price times cost, than the agent that alone is best on the very same
    questions.
    """

    price: float
    right: float
    cost: float
    asked: tuple[float, ...]
    gain: Interval
    promises: tuple[Promise, ...] = ()

    @classmethod
    def of(
        cls,
        price: float,
        known: Answered,
        rows: npt.NDArray[np.int64],
        choice: npt.NDArray[np.int64],
        asked: npt.NDArray[np.bool_],
        pricing: Pricing,
        promises: tuple[Promise, ...] = (),
    ) -> AtPrice:
        """Of the questions `rows` [n], whose answers were given, `choice` [n], and who was `asked` [n, A];
        `pricing` is that of the price 1.
        """
        cost = asked @ pricing.beta
        got = known.right[rows, choice]
        worth = 1 - pricing.scaled(0.0).costs(1 - known.right[rows])
        alone = worth - price * pricing.beta
        given = worth[np.arange(len(rows)), choice] - price * cost
        gain = given - alone[:, alone.mean(axis=0).argmax()]
        return cls(
            price,
            float(got.mean()),
            float(cost.mean()),
            tuple(asked.mean(axis=0).tolist()),
            bootstrap_interval(gain, known.clusters[rows].tolist()),
            promises,
        )


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
    known: Answered,
    units: Sequence[float],
    folder: Path,
    *,
    data: str,
    command: str,
    show: Show,
    judge: Judge | None = None,
    unit: Unit = "dollars",
    alpha: Sequence[float] | None = None,
) -> Made:
    """Train a cascade on what all agents answered, and save it to `folder`.

    A `judge` looks at the passages for each answer. `units` [A] is what each agent takes in the `unit` that
    its card names and `alpha` [A] what an error weighs, for what is measured; the allocator itself serves
    any. Raises what `save_allocator` raises, and ConfigError for an α that is negative or no number.
    """
    check_allocator_replaceable(folder)
    names, record, right = known.agents, known.record, known.right
    pricing = Pricing.at(1.0, names, units, alpha)
    questions, contexts = known.questions, known.contexts
    looked = None
    if judge is not None:
        parts = []
        for start in range(0, len(questions), _LOOKED_AT):
            show("looking at the passages", start, len(questions))
            some = slice(start, start + _LOOKED_AT)
            parts.append(judge(questions[some], contexts[some], record.texts[some]).log_p)
        looked = np.concatenate(parts)
    given = said(questions, known.texts, record.texts, record.sure, looked)
    show("encoding", 0, len(questions))
    vectors = before(backbone, questions, contexts)
    show("learning", 0, FOLDS + 1)
    at = _crossed(given, vectors, known, pricing, show)
    show("learning", FOLDS, FOLDS + 1)
    directions, cascade = _learned(given, vectors, right, known.clusters, units)
    made = Made(folder, len(questions), tuple(right.mean(axis=0).tolist()), at, record.failures)
    numbers: dict[str, Any] = {
        "looks": judge is not None,
        "models": dict(known.models),
        "training": {"command": command, "data": data, "questions": len(questions)},
        "numbers": {
            "unit": unit,
            "measure": known.measure,
            "alpha": dict(zip(names, pricing.alpha.tolist(), strict=True)),
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
    sets = stations(list(units))
    return directions, Cascade.learn(given, known, right, parts, sets)


def _crossed(
    given: Said,
    vectors: FloatArray,
    known: Answered,
    pricing: Pricing,
    show: Show,
) -> tuple[AtPrice, ...]:
    """At each price what came of questions whose passages the cascade did not learn from."""
    folds, right, clusters, units = known.folds, known.right, known.clusters, pricing.beta
    choice = np.zeros((len(PRICES), len(right)), dtype=np.int64)
    chance = np.zeros((len(PRICES), len(right)))
    asked = np.zeros((len(PRICES), *right.shape), dtype=bool)
    for number, fold in enumerate(np.unique(folds)):
        show("measuring", number, FOLDS)
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        directions, cascade = _learned(
            given.take(train), vectors[train], right[train], clusters[train], units.tolist()
        )
        before_asking = directions(vectors[test])
        for p, price in enumerate(PRICES):
            found = cascade.ask(given.take(test), before_asking, units, price, alpha=pricing.alpha)
            choice[p, test], chance[p, test] = found.choice, found.chance
            asked[p, test] = found.seen
    rows = np.arange(len(right))
    # Shares of wrong answers are promised, and one that is half right is neither.
    errors = PROMISES if known.measure == "em" else ()
    return tuple(
        AtPrice.of(
            price,
            known,
            rows,
            choice[p],
            asked[p],
            pricing,
            tuple(_promise(chance[p], right[rows, choice[p]], error, clusters) for error in errors),
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
