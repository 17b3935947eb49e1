"""Look before you ask: ask somebody, see what was said, and ask others only where that is worth its price.

After cascade routing (arXiv 2410.10347). A cascade stands at a station, a set of agents that were asked,
and may go on to any station that holds more. How likely the best answer there would be right is learned
from the agents' record, in which every agent answered every question, once and for every price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from pointsman.defer.candidates import Floats, Mask, Said
from pointsman.defer.cost import Choices, alike
from pointsman.defer.evidence import surely_above
from pointsman.defer.logistic import Logistic, log_odds
from pointsman.defer.verifier import Verifier, best, sureness
from pointsman.errors import ConfigError

_ALL_SETS = 4
_DOUBLED = 1.8
_ALIKE = 1.1
_SHY = 0.03  # penalty of what foresees from hundreds of features
_KIND = 3
"""So many main directions of what is known before tell one kind of question from another."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a cascade did: who was asked `seen` [n, A], whose answer is given [n] and its chance [n]."""

    seen: Mask
    choice: Choices
    chance: Floats

    def cost(self, units: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """What all that were asked took [n], by what each agent takes [A]."""
        return np.asarray(self.seen @ np.asarray(units, dtype=np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a cascade does at a price: `weights` [K][f, K] of what it is worth to go on from each station to
    each other, or to stay, and the `ways` [K, K] that are open.

    `alone` is the station of the best single agent where nothing shows the plan to be worth more than that
    one, else None.
    """

    weights: list[Floats]
    ways: Mask
    alone: int | None


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is seen at a station: the `chances` of the answers there [n, A]; how good each station `looks`
    [n, K], what it is worth less what going there takes, -inf where there is no way to it; and how likely
    each agent is `foreseen` [n, A] to be right, asked or not, NaN for one that has no station of its own.
    """

    chances: Floats
    looks: Floats
    foreseen: Floats


def stations(units: Sequence[float]) -> Mask:
    """The sets of agents [K, A] that a cascade may have asked, by what each agent takes; first nobody.

    All sets of up to four agents. Of more: each agent alone; the cheapest ones together, up to where
    the next would nearly double what they take; and those with the dearest. Where several take the same,
    who is cheapest says nothing of who should come first: then also every two of which one takes more.
    """
    agents = len(units)
    if agents <= _ALL_SETS:
        sets = [set(s) for size in range(agents + 1) for s in combinations(range(agents), size)]
    else:
        order = np.argsort(np.asarray(units), kind="stable").tolist()
        sums = np.cumsum(np.sort(np.asarray(units, dtype=np.float64)))
        sizes = [i + 1 for i in range(agents - 1) if sums[i + 1] >= _DOUBLED * sums[i]]
        prefixes = [set(order[:size]) for size in (*sizes, agents)]
        sets = [set(), *prefixes, *({j} for j in order)]
        sets += [prefix | {order[-1]} for prefix in prefixes if len(prefix) > 1]
        taken = np.asarray(units, dtype=np.float64)
        dearer = taken[None, :] > _ALIKE * taken[:, None]
        if not (dearer | dearer.T | np.eye(agents, dtype=bool)).all():
            sets += [{i, j} for i, j in np.argwhere(dearer).tolist()]
    found = np.zeros((len(sets), agents), dtype=bool)
    for row, members in zip(found, sets, strict=True):
        row[list(members)] = True
    return np.unique(found, axis=0)


class Cascade:
    """A verifier for every station, and the record of questions that none of them learned from.

    `hints` [n, 1 + f] are how easy each question looked before anyone was asked, and of which kind it is;
    `sure` [K, n, 5] what was known at each station (`verifier.sureness`), `right` [n, K] whether the best
    answer there was right. A plan for a price is made of them by backward induction, in milliseconds.
    `clusters` [n] number the sources of the questions, which are evidence together; None: each its own.
    """

    def __init__(
        self,
        stations: Mask,
        verifiers: Sequence[Verifier | None],
        easy: Logistic,
        hints: Floats,
        sure: Floats,
        right: Floats,
        clusters: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.stations = stations
        self.verifiers = verifiers
        self.easy = easy
        self.hints = hints
        self.sure = sure
        self.right = right
        own = np.arange(len(right)) if clusters is None else clusters
        self.clusters = np.unique(own, return_inverse=True)[1].astype(np.int64)
        # Where one may go from each station [K, K], and the stations with those of more agents first.
        self._ways = np.asarray((stations[:, None, :] <= stations[None, :, :]).all(-1))
        np.fill_diagonal(self._ways, False)
        self._order = np.argsort(-stations.sum(axis=1), kind="stable").tolist()
        self._curves = [_curve(hints, each) for each in sure]
        self._solvers = [_solver(curve) for curve in self._curves]
        self._each = self._right_alone()

    @classmethod
    def learn(
        cls,
        said: Said,
        before: npt.NDArray[np.floating],
        right: npt.NDArray[np.floating],
        folds: npt.NDArray[np.int64],
        stations: Mask,
        clusters: npt.NDArray[np.int64] | None = None,
    ) -> Cascade:
        """From what was said, what was known `before` [n, d], the main directions first, and whether it was `right` [n, A] in [0, 1].

        What a station is worth is learned from what verifiers say of questions that they did not learn
        from: `folds` [n] number their parts, which must not share a passage. `clusters` [n] number the
        questions' sources, where these are known.
        """
        chances = np.zeros((len(stations), *right.shape), dtype=np.float32)
        hints = np.zeros((len(said), 1 + min(_KIND, before.shape[1])), dtype=np.float32)
        for fold in np.unique(folds):
            mine, there = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            others, part = said.take(there), said.take(mine)
            hints[mine] = _hints(_easy(before[there], right[there]), before[mine])
            for k, asked in enumerate(stations):
                if asked.any():
                    chances[k, mine] = Verifier.learn(others, right[there], asked)(part)
        rows = np.arange(len(said))
        right_at = [right[rows, best(each)[0]] * each.any(axis=1) for each in chances]
        sure = [sureness(said, *each) for each in zip(stations, chances, strict=True)]
        verifiers = [
            Verifier.learn(said, right, asked) if asked.any() else None for asked in stations
        ]
        known = np.stack(right_at, 1).astype(np.float32)
        easy = _easy(before, right)
        return cls(stations, verifiers, easy, hints, np.stack(sure), known, clusters)

    def plan(self, units: npt.NDArray[np.floating], price: float, allowed: Mask) -> Plan:
        """What to do at a price, where only those `allowed` [A] may be asked.

        Backward from the station where all were asked (Longstaff & Schwartz 2001): what a station is
        worth for a question is what came of staying or of going on, whichever looked better there, less
        what was paid; and how it looks from elsewhere is the regression of that on what was known there.
        """
        taken = price * (self.stations @ np.asarray(units, dtype=np.float64))
        open_ = np.asarray((self.stations <= allowed).all(axis=1))
        ways = self._ways & open_
        np.fill_diagonal(ways, self.stations.any(axis=1))
        value = np.zeros(self.right.shape)
        weights = [np.zeros((self._curves[0].shape[1], len(self.stations)), np.float32)] * len(
            self.stations
        )
        for k in self._order:
            targets = value - (taken - taken[k])
            targets[:, k] = self.right[:, k]
            weights[k] = (self._solvers[k] @ targets).astype(np.float32)
            onward = _looks(self._curves[k], weights[k], ways[k]).argmax(axis=1)
            value[:, k] = targets[np.arange(len(targets)), onward]
        alone = self._alone_without_evidence(value[:, self.start], taken, open_)
        if alone is not None:
            for k in (self.start, alone):
                ways[k] = np.arange(len(ways)) == alone
        return Plan(weights, ways, alone)

    def _alone_without_evidence(
        self, value: npt.NDArray[np.float64], taken: npt.NDArray[np.floating], open_: Mask
    ) -> int | None:
        """The station of the best single agent, where a plan is not surely worth more than that one alone.

        `value` [n] is what the plan gave on the record. No verifier learned from the question that it
        judged there, but the plan's regressions, some thirty numbers a station, did: to make them anew
        without each part would take a plan as many times, at every price. What is too good in that is
        left to the two standard errors, and what comes of a price is measured by parts that nothing
        learned from (`defer/make.py`).
        """
        single = np.flatnonzero((self.stations.sum(axis=1) == 1) & open_)
        alone = int(single[(self.right[:, single].mean(axis=0) - taken[single]).argmax()])
        gain = value - (self.right[:, alone] - taken[alone])
        return None if surely_above(gain, self.clusters) else alone

    def ask(
        self,
        said: Said,
        before: npt.NDArray[np.floating],
        units: npt.NDArray[np.floating],
        price: float,
        *,
        times: npt.NDArray[np.floating] | None = None,
        allowed: Mask | None = None,
    ) -> Asked:
        """Ask about every question at a price for what each agent takes, the `units` [A]; where questions
        differ in that, as those with long passages do, `times` [n, A] as much.

        `allowed` [A] is who may be asked at all. Raises ConfigError for a price that is negative, or
        where nobody may be asked.
        """
        may = np.ones(said.agents, dtype=bool) if allowed is None else allowed
        at = np.full(len(said), self.start)
        choice = np.zeros(len(said), dtype=np.int64)
        chance = np.zeros(len(said), dtype=np.float32)
        every = np.ones(said.given.shape) if times is None else times
        for rows, times_usual in alike(every):
            planned = Planned(self, units * times_usual, price, may)
            for k in reversed(self._order):
                mine = rows[at[rows] == k]
                if len(mine):
                    view = planned.look(k, said.take(mine), before[mine])
                    choice[mine], chance[mine] = best(view.chances)
                    at[mine] = view.looks.argmax(axis=1)
        return Asked(self.stations[at], choice, chance)

    @property
    def start(self) -> int:
        """The station where nobody was asked."""
        return int(self._order[-1])

    def foreseen(self, k: int, known: Floats) -> Floats:
        """How likely each agent is right [n, A], from what is known at station k [n, f].

        By the same regression as what stations are worth there, of whether its answer was right on the
        record; NaN for an agent that has no station of its own.
        """
        return np.asarray(np.clip(known @ self._each[k], 0, 1), dtype=np.float32)

    def _right_alone(self) -> list[Floats]:
        """For every station the weights [f, A] of that."""
        alone = np.full((len(self.right), self.stations.shape[1]), np.nan)
        for k in np.flatnonzero(self.stations.sum(axis=1) == 1):
            alone[:, self.stations[k]] = self.right[:, k : k + 1]
        return [(solver @ alone).astype(np.float32) for solver in self._solvers]


class Planned:
    """A cascade at a price: what it says at each station."""

    def __init__(
        self,
        cascade: Cascade,
        units: npt.NDArray[np.floating],
        price: float,
        allowed: Mask,
    ) -> None:
        if not 0 <= price < np.inf:
            raise ConfigError(f"a price must be 0 or more, not {price}")
        self._cascade = cascade
        if (cascade.stations <= allowed).all(axis=1).sum() < 2:
            raise ConfigError("nobody may be asked; allow one agent at least")
        self._plan = cascade.plan(units, price, allowed)

    @property
    def alone(self) -> int | None:
        """The station of the one agent that is asked, and no other, for want of evidence; else None."""
        return self._plan.alone

    def look(self, k: int, said: Said, before: npt.NDArray[np.floating]) -> View:
        """What is seen at station k; the station itself stands for the best answer so far."""
        cascade = self._cascade
        verifier = cascade.verifiers[k]
        chances = np.zeros(said.given.shape, np.float32) if verifier is None else verifier(said)
        hints = _hints(cascade.easy, before)
        known = _curve(hints, sureness(said, cascade.stations[k], chances))
        looks = _looks(known, self._plan.weights[k], self._plan.ways[k])
        return View(chances, looks, cascade.foreseen(k, known))


def _looks(known: Floats, weights: Floats, ways: Mask) -> Floats:
    """How good each station looks [n, K], from what is known [n, f]; -inf where there is no way."""
    found = known @ weights
    found[:, ~ways] = -np.inf
    return np.asarray(found)


def _easy(before: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> Logistic:
    """How many of the agents are right, by what is known before."""
    return Logistic.learn(before, right.mean(axis=1, keepdims=True), _SHY)


def _hints(easy: Logistic, before: npt.NDArray[np.floating]) -> Floats:
    """Its log-odds, how easy a question looks before anyone is asked, and of which kind it is [n, 1 + f]."""
    return np.concatenate([log_odds(easy(before)), before[:, :_KIND]], axis=1).astype(np.float32)


def _curve(hints: Floats, numbers: Floats) -> Floats:
    """One, how easy it looks, the five numbers of `sureness`, their squares and products, and the kind
    [n, 28 + f]: a bent curve of a few.

    More is not better: regressions on everything that is known took chance for promise.
    """
    few = np.concatenate([hints[:, :1], numbers], axis=1)
    first, second = np.triu_indices(few.shape[1])
    products = few[:, first] * few[:, second]
    one = np.ones((len(few), 1), np.float32)
    return np.concatenate([one, few, products, hints[:, 1:]], axis=1)


def _solver(curve: Floats, ridge: float = 1.0) -> npt.NDArray[np.float64]:
    """The matrix [f, n] that gives a regression's weights of any targets [n, K]."""
    x = curve.astype(np.float64)
    scale = np.maximum(np.sqrt((x * x).mean(axis=0)), 1e-6)
    z = x / scale
    gram = z.T @ z + ridge * np.eye(z.shape[1])
    return np.asarray(np.linalg.solve(gram, z.T) / scale[:, None])
