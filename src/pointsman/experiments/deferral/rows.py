"""The rows of the deferral tables: who answers each question at a price, five-fold, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pointsman.defer.before import Directions
from pointsman.defer.candidates import Said
from pointsman.defer.cascade import Cascade, Planned
from pointsman.defer.cost import Choices, alike, cheapest, one_agent
from pointsman.defer.foresight import among_nearest, unit
from pointsman.defer.lift import Lift
from pointsman.defer.logistic import Logistic
from pointsman.defer.network import Fit
from pointsman.defer.rejector import Rejector
from pointsman.defer.stations import stations
from pointsman.defer.surrogate import Weights, deferral, margins, mild, picce
from pointsman.defer.verifier import Learn, Verifier, best, one_each
from pointsman.experiments.deferral.bed import FOLDS, Bed, Floats
from pointsman.experiments.deferral.shared import one_for_all

US = (0.0, 0.5, 1.0, 1.5, 2.0)
REJECTOR = Fit(hidden=64, epochs=10, batch=256, learning_rate=2e-3, decay=0.1)

_WIDTH = 128  # of features, before anyone is asked, once they are reduced
_INNER = 3


@dataclass(frozen=True, eq=False)
class Given:
    """What was done with n questions: whose answer was `given` [n], and who was `asked` [n, A].

    `deciding` [n] is what it took to decide that, in the bed's unit, None for nothing.
    """

    given: Choices
    asked: npt.NDArray[np.bool_]
    chance: Floats | None = None
    deciding: Floats | None = None

    @classmethod
    def one(cls, choice: Choices, agents: int, deciding: Floats | None = None) -> Given:
        """One agent was asked, and its answer given."""
        return cls(choice, np.eye(agents, dtype=bool)[choice], deciding=deciding)


class Learned:
    """What is learned from some questions, whatever they are for."""

    def __init__(self, train: Bed, number: int, seed: int) -> None:
        self.train = train
        self.number = number
        self.seed = seed

    @cached_property
    def directions(self) -> Directions:
        """The main directions of their features."""
        return Directions.of(self.train.features, _WIDTH)

    @cached_property
    def known(self) -> npt.NDArray[np.float32]:
        """Their features, reduced to those."""
        return self.directions(self.train.features)

    @cached_property
    def inner(self) -> npt.NDArray[np.int64]:
        """Parts of them that share no cluster."""
        return np.asarray(np.unique(self.train.clusters, return_inverse=True)[1] % _INNER)

    @cached_property
    def cascade(self) -> Cascade:
        """Looks before it asks."""
        return self._cascade(one_each)

    @cached_property
    def shared(self) -> Cascade:
        """The same with one verifier for all sets of agents."""
        return self._cascade(one_for_all)

    def _cascade(self, verifiers: Learn) -> Cascade:
        train = self.train
        sets = stations(train.units.tolist())
        return Cascade.learn(train.said, self.known, train.em, self.inner, sets, verifiers)


class Fold:
    """What is learned from some questions, for others, `test`, which stand at `rows` of their bed."""

    def __init__(self, learned: Learned, test: Bed, rows: npt.NDArray[np.int64]) -> None:
        self.learned = learned
        self.test = test
        self.rows = rows
        self._factors: Floats | float = 1.0

    def believing(self, factors: Floats) -> Fold:
        """The same where agents are held to take so many times [A] what they do; what was learned is shared."""
        other = copy(self)
        other._factors = factors
        return other

    @classmethod
    def of(cls, bed: Bed, number: int, seed: int) -> Fold:
        """All folds but one, for that one."""
        rows = np.flatnonzero(bed.folds == number)
        train = bed.take(np.flatnonzero(bed.folds != number))
        return cls(Learned(train, number, seed), bed.take(rows), rows)

    @classmethod
    def whole(cls, learned: Learned, test: Bed) -> Fold:
        """Everything that was set aside for learning, for all of a test."""
        return cls(learned, test, np.arange(len(test)))

    @property
    def train(self) -> Bed:
        """The questions that it learns from."""
        return self.learned.train

    @property
    def number(self) -> int:
        """Which fold it is."""
        return self.learned.number

    @property
    def seed(self) -> int:
        """Of whatever is random."""
        return self.learned.seed

    @property
    def cascade(self) -> Cascade:
        """Looks before it asks."""
        return self.learned.cascade

    @property
    def agents(self) -> int:
        """How many there are."""
        return len(self.train.agents)

    @property
    def units(self) -> Floats:
        """What each agent takes, the dearest 1."""
        return np.asarray(self.train.units / self.train.units.max() * self._factors)

    def taken(self, bed: Bed) -> Floats:
        """What each question of a bed took of each agent [n, A], the dearest agent's mean 1.

        That is known before anybody is asked: it follows from the model and the length of the passage.
        """
        return np.asarray(bed.costs / self.train.units.max() * self._factors)

    def costs(self, price: float, bed: Bed, right: Floats) -> Floats:
        """c_j = error_j + β_j [n, A] of a bed's questions at a price, by how `right` [n, A] each agent was."""
        return 1 - right + price * self.taken(bed)

    def one(self, choice: Choices) -> Given:
        """One agent was asked about each test question, after a look at the question's vector."""
        return Given.one(choice, self.agents, self.test.encoding)

    @cached_property
    def known(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Features of training and test questions, reduced to their main directions in training."""
        return self.learned.known, self.learned.directions(self.test.features)

    @cached_property
    def everyone(self) -> Given:
        """All were asked, and the answer given that a verifier likes best."""
        asked = np.ones(self.agents, dtype=bool)
        chances = Verifier.learn(self.train.said, self.train.em, asked)(self.test.said)
        choice, chance = best(chances)
        return Given(choice, np.ones((len(choice), self.agents), dtype=bool), chance.astype(float))

    @cached_property
    def expected(self) -> Floats:
        """Expected errors of each agent, by a logistic regression on what is known before."""
        train, test = self.known
        return 1 - Logistic.learn(train, self.train.em, 0.03)(test)

    @cached_property
    def foreseen(self) -> Floats:
        """How likely each agent is right [n, A] as the cascade sees it before anyone is asked."""
        cascade = self.cascade
        planned = Planned(cascade, self.units, 0.0, np.ones(self.agents, dtype=bool))
        hints = cascade.foresight(self.known[1])
        return planned.look(cascade.start, self.test.said, hints).foreseen.astype(np.float64)

    @cached_property
    def lift(self) -> Lift:
        """Deviates only with evidence."""
        return Lift.learn(self.known[0], self.train.em, self.train.clusters, seed=self.seed)

    @cached_property
    def neighbours(self) -> Floats:
        """Mean errors of each agent among the nearest training questions."""
        train, test = unit(self.train.features), unit(self.test.features)
        return np.asarray(1 - among_nearest(train, self.train.em, test))


Decide = Callable[[Fold, float], Given]


@dataclass(frozen=True, slots=True)
class Row:
    """A way to allocate. `kind`: agent, control, paper, recent, ours or bound."""

    name: str
    kind: str
    decide: Decide


def rows(bed: Bed) -> list[Row]:
    """All rows of a bed: those of confidence where agents say how sure they are, those of the data set
    where there is more than one.
    """
    agents = bed.agents
    made = [
        Row(name, "agent", partial(lambda fold, price, j: _always(fold, j), j=j))
        for j, name in enumerate(agents)
    ]
    made += [
        Row("random", "control", lambda fold, price: _random(fold)),
        Row(BEST, "control", lambda fold, price: _always(fold, _alone(fold, price))),
        Row("majority of all", "control", lambda fold, price: _majority(fold)),
        Row(NEAREST, "control", lambda f, price: _by_errors(f, f.neighbours, price)),
        Row("logistic", "control", lambda f, price: _by_errors(f, f.expected, price)),
    ]
    if bed.said.own.any():
        made += [
            Row("the surest of all", "control", lambda fold, price: _surest(fold)),
            Row("confidence threshold", "control", _by_confidence),
        ]
    if len(np.unique(bed.sets)) > 1:
        made += [
            Row(LABEL, "control", lambda fold, price: _by_set(fold, fold.train, price)),
            Row(f"{LABEL}, oracle", "bound", lambda fold, price: _by_set(fold, fold.test, price)),
        ]
    kinds: tuple[Weights, ...] = get_args(Weights)
    for kind in kinds:
        for u in US:
            loss = partial(deferral, u=u, kind=kind)
            made.append(Row(f"surrogate, u = {u:g}, {kind}", "paper", partial(_learned, loss=loss)))
    made.append(Row("surrogate, u = 1, shifted, 1 - F1", "paper", _graded))
    if not np.array_equal(bed.ends[..., 0], bed.em):
        for kind in kinds:
            ends = partial(_by_ends, loss=partial(deferral, u=1.0, kind=kind))
            made.append(Row(f"surrogate, u = 1, {kind}, start and end", "paper", ends))
    made += [
        Row("PiCCE", "recent", partial(_learned, loss=picce)),
        Row("MILD", "recent", partial(_learned, loss=None)),
        Row(LIFT, "ours", _lifted),
        Row(OURS, "ours", _looked),
        Row("the same, shuffled", "control", _shuffled),
        Row("the same, one verifier for all sets", "control", _sharing),
        Row(TOGETHER, "control", _together),
        Row(EVERYONE, "ours", lambda fold, price: fold.everyone),
        Row(ORACLE, "bound", _oracle),
    ]
    return made


BEST = "best single at that price"
NEAREST = "nearest questions"
SURROGATE = "surrogate, u = 1, shifted"
LIFT = "lift, with evidence"
OURS = "look before you ask"
ORACLE = "oracle"
EVERYONE = "everyone asked, verified"
TOGETHER = "best set of agents, all asked"
LABEL = "best reader of the data set"


def decided(bed: Bed, row: Row, price: float, folds: Sequence[Fold]) -> Given:
    """What a row does with every question, each by what its fold learned from others."""
    return by_fold(bed, folds, lambda fold: row.decide(fold, price))


def by_fold(bed: Bed, folds: Sequence[Fold], decide: Callable[[Fold], Given]) -> Given:
    """What is done with the questions of every fold, put together."""
    given = np.zeros(len(bed), dtype=np.int64)
    asked = np.zeros(bed.em.shape, dtype=bool)
    chance = np.full(len(bed), np.nan)
    deciding = np.zeros(len(bed))
    for fold in folds:
        found = decide(fold)
        given[fold.rows], asked[fold.rows] = found.given, found.asked
        if found.chance is not None:
            chance[fold.rows] = found.chance
        if found.deciding is not None:
            deciding[fold.rows] = found.deciding
    return Given(given, asked, None if np.isnan(chance).any() else chance, deciding)


def all_folds(bed: Bed, seed: int = 0) -> list[Fold]:
    """One for each part of the questions."""
    return [Fold.of(bed, number, seed) for number in range(FOLDS)]


def _always(fold: Fold, agent: int) -> Given:
    return Given.one(np.full(len(fold.test), agent, dtype=np.int64), fold.agents)


def _alone(fold: Fold, price: float) -> int:
    """The single agent of the least mean cost in training."""
    return int(fold.costs(price, fold.train, fold.train.em).mean(axis=0).argmin())


def _random(fold: Fold) -> Given:
    generator = np.random.default_rng([fold.seed, fold.number])
    return Given.one(generator.integers(0, fold.agents, size=len(fold.test)), fold.agents)


def _majority(fold: Fold) -> Given:
    """The answer that most give, of equally many that of the better agent in training."""
    votes = fold.test.said.same.sum(-1) + 0.5 * fold.train.em.mean(axis=0)
    asked = np.ones((len(fold.test), fold.agents), dtype=bool)
    return Given(votes.argmax(axis=1).astype(np.int64), asked)


def _by_errors(fold: Fold, errors: Floats, price: float) -> Given:
    return fold.one(cheapest(fold.costs(price, fold.test, 1 - errors)))


def _surest(fold: Fold) -> Given:
    """Everyone is asked, and whoever is surest by their own word answers."""
    asked = np.ones(fold.test.em.shape, dtype=bool)
    return Given(_own(fold.test.said).argmax(axis=1).astype(np.int64), asked)


def _own(said: Said) -> Floats:
    """How sure each agent is [n, A]; of nothing at all where it said nothing."""
    return np.where(said.given, said.own, -np.inf)


def _by_confidence(fold: Fold, price: float) -> Given:
    """One is asked, and another where the first is not sure enough: the best two, and the best threshold
    on the first's own word, in training.
    """
    said, em = fold.train.said, fold.train.em
    paid = price * fold.taken(fold.train)
    best_worth, chosen = -np.inf, (0, 0, -np.inf)
    sure = _own(said)
    for i in range(fold.agents):
        order = np.argsort(-sure[:, i], kind="stable")
        # Questions of which it is equally sure are kept together or not at all.
        sorted_ = sure[order, i]
        whole = np.concatenate([[True], sorted_[1:] < sorted_[:-1], [True]])
        kept = np.append(0, np.cumsum(em[order, i]))
        for j in range(fold.agents):
            # The k surest keep the first one's answer, all others have the second's and pay for both.
            gain = em[order, j] - paid[order, j]
            worth = kept + gain.sum() - np.append(0, np.cumsum(gain)) - paid[:, i].sum()
            k = int(np.where(whole, worth, -np.inf).argmax())
            if worth[k] > best_worth:
                least = np.inf if k == 0 else float(sorted_[k - 1])
                best_worth, chosen = float(worth[k]), (i, j, least)
    i, j, least = chosen
    on = _own(fold.test.said)[:, i] < least
    asked = np.zeros(fold.test.em.shape, dtype=bool)
    asked[:, i] = True
    asked[on, j] = True
    return Given(np.where(on, j, i).astype(np.int64), asked)


def _by_set(fold: Fold, known: Bed, price: float) -> Given:
    """Whoever is best on a question's data set, which nobody is told of elsewhere."""
    costs = fold.costs(price, known, known.em)
    choice = np.zeros(len(fold.test), dtype=np.int64)
    for label in np.unique(fold.test.sets):
        choice[fold.test.sets == label] = costs[known.sets == label].mean(axis=0).argmin()
    return Given.one(choice, fold.agents)


def _learned(fold: Fold, price: float, loss: Callable[[Tensor, Tensor], Tensor] | None) -> Given:
    """A rejector trained at this price; without a loss by MILD's, whose margins are the data's."""
    if loss is None:
        costs = fold.costs(price, fold.train, fold.train.em)
        loss = partial(mild, rho=margins(torch.from_numpy(costs.astype(np.float32))))
    return fold.one(rejector(fold, price, loss).allocate(fold.known[1]))


def _graded(fold: Fold, price: float) -> Given:
    """The same where an answer is the less wrong the more of its words are right."""
    loss = partial(deferral, u=1.0, kind="shifted")
    found = rejector(fold, price, loss, right=fold.train.f1)
    return fold.one(found.allocate(fold.known[1]))


def _by_ends(fold: Fold, price: float, loss: Callable[[Tensor, Tensor], Tensor]) -> Given:
    """The paper's two allocations, of a span's start and of its end; where they disagree one answers both."""
    start, end = (rejector(fold, price, loss, right=fold.train.ends[..., i]) for i in range(2))
    known = fold.known[1]
    return fold.one(one_agent(start.scores(known), end.scores(known)))


def rejector(
    fold: Fold,
    price: float,
    loss: Callable[[Tensor, Tensor], Tensor],
    plan: Fit = REJECTOR,
    right: Floats | None = None,
) -> Rejector:
    """Trained at this price on what is known before; `right` [n, A] is exact match where it is not given."""
    costs = fold.costs(price, fold.train, fold.train.em if right is None else right)
    return Rejector.learn(fold.known[0], costs, loss, plan)


def _lifted(fold: Fold, price: float) -> Given:
    beta = price * fold.taken(fold.test)
    return fold.one(fold.lift.allocate(fold.known[1], beta))


def _looked(fold: Fold, price: float) -> Given:
    return looking(fold, price, fold.known[1])


def looking(fold: Fold, price: float, before: npt.NDArray[np.float32]) -> Given:
    """Looks before it asks, where this is known before [n, d]."""
    return _asked(fold, fold.cascade, price, before)


def _asked(fold: Fold, cascade: Cascade, price: float, before: npt.NDArray[np.float32]) -> Given:
    times = fold.taken(fold.test) / fold.units
    asked = cascade.ask(fold.test.said, before, fold.units, price, times=times)
    return Given(asked.choice, asked.seen, asked.chance.astype(float), fold.test.encoding)


def _sharing(fold: Fold, price: float) -> Given:
    return _asked(fold, fold.learned.shared, price, fold.known[1])


def _shuffled(fold: Fold, price: float) -> Given:
    """As often the same agents, but for other questions that take about as much; verified as ours are."""
    found, test, cascade = _looked(fold, price), fold.test, fold.cascade
    generator = np.random.default_rng([fold.seed, fold.number])
    asked = found.asked.copy()
    for mine, _ in alike(fold.taken(test) / fold.units):
        asked[mine] = found.asked[generator.permutation(mine)]
    given, chance = np.zeros(len(test), dtype=np.int64), np.zeros(len(test))
    for station, verifier in zip(cascade.stations, cascade.verifiers, strict=True):
        mine = np.flatnonzero((asked == station).all(axis=1))
        if verifier is not None and len(mine):
            given[mine], chance[mine] = best(verifier(test.said.take(mine)))
    return Given(given, asked, chance, found.deciding)


def _together(fold: Fold, price: float) -> Given:
    """The same agents for every question, whichever set of them is worth most on the record, and the answer
    that a verifier likes best: what asking several is worth where nobody looks before asking on.
    """
    cascade = fold.cascade
    worth = cascade.worth().mean(axis=0) - price * (cascade.stations @ fold.units)
    worth[cascade.start] = -np.inf  # nobody at all
    k = int(worth.argmax())
    verifier = cascade.verifiers[k]
    assert verifier is not None  # somebody is asked
    choice, chance = best(verifier(fold.test.said))
    asked = np.broadcast_to(cascade.stations[k], fold.test.em.shape)
    return Given(choice, np.array(asked), chance.astype(float))


def _oracle(fold: Fold, price: float) -> Given:
    """Knows who is right, and asks the cheapest of them."""
    return Given.one(cheapest(fold.costs(price, fold.test, fold.test.em)), fold.agents)
