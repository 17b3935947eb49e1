"""Look before you ask: ask somebody, see what was said, and ask others only where that is worth its price.

After cascade routing (arXiv 2410.10347). A cascade stands at a station, a set of agents that were asked,
and may go on to any station that holds more. How likely the best answer there would be right is learned
from the agents' record, in which every agent answered every question, once and for every price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.defer.candidates import Floats, Mask, Said
from pointsman.defer.cost import Choices, alike
from pointsman.defer.foresight import Foresight
from pointsman.defer.regression import Regression, predicted
from pointsman.defer.verifier import Learn, Verifier, one_each, sureness, worthiest
from pointsman.errors import ConfigError

_PENALTY = 0.005  # of the regressions; chosen on records, five-fold


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

    Where it is `blind` it asks those that were chosen before, whatever they say: nothing shows that to look
    at what was said is worth more.
    """

    weights: list[Floats]
    ways: Mask
    blind: bool


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is seen at a station: the `chances` of the answers there [n, A]; how good each station `looks`
    [n, K], what it is worth less what going there takes, -inf where there is no way to it; and how likely
    each agent is `foreseen` [n, A] to be right, asked or not, NaN for one that has no station of its own.
    """

    chances: Floats
    looks: Floats
    foreseen: Floats


class Cascade:
    """A verifier for every station, and the record of questions that none of them learned from.

    `foresight` tells of each question, before anyone is asked, what `hints` [n, 1 + A] tell of the record's;
    `chances` [K, n, A] are of the answers at each station and `sure` [K, n, 5] the same in short
    (`verifier.sureness`); `right` [n, A] is whether each agent was right. A plan for a price is made of them
    by backward induction, in a fraction of a second. `parts` [n] number parts of the record that share no
    source.
    """

    def __init__(
        self,
        stations: Mask,
        verifiers: Sequence[Verifier | None],
        foresight: Foresight,
        hints: Floats,
        chances: Floats,
        sure: Floats,
        right: Floats,
        parts: npt.NDArray[np.int64],
    ) -> None:
        self.stations = stations
        self.verifiers = verifiers
        self.foresight = foresight
        self.hints = hints
        self.chances = chances
        self.sure = sure
        self.right = right
        self.parts = parts
        # Where one may go from each station [K, K], and the stations with those of more agents first.
        self._ways = np.asarray((stations[:, None, :] <= stations[None, :, :]).all(-1))
        np.fill_diagonal(self._ways, False)
        self._order = np.argsort(-stations.sum(axis=1), kind="stable").tolist()
        curves = [_curve(hints, each) for each in sure]
        self._width = curves[0].shape[1]
        self._worth = [Regression(each, parts, _PENALTY) for each in curves]
        self._each = self._right_alone()
        self._worths: dict[bytes, npt.NDArray[np.float64]] = {}

    @classmethod
    def learn(
        cls,
        said: Said,
        before: npt.NDArray[np.floating],
        right: npt.NDArray[np.floating],
        folds: npt.NDArray[np.int64],
        stations: Mask,
        verifiers: Learn = one_each,
    ) -> Cascade:
        """From what was said, what was known `before` [n, d], and whether it was `right` [n, A] in [0, 1];
        `verifiers` learns those of the stations.

        What a station is worth is learned from what verifiers and foresight say of questions that they did
        not learn from: `folds` [n] number their parts, which must not share a source.
        """
        chances = np.zeros((len(stations), *right.shape), dtype=np.float32)
        hints = np.zeros((len(said), 1 + right.shape[1]), dtype=np.float32)
        for fold in np.unique(folds):
            mine, there = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            others, part = said.take(there), said.take(mine)
            hints[mine] = Foresight.learn(before[there], right[there])(before[mine])
            for k, verifier in enumerate(verifiers(others, right[there], stations)):
                if verifier is not None:
                    chances[k, mine] = verifier(part)
        sure = [sureness(said, *each) for each in zip(stations, chances, strict=True)]
        made = verifiers(said, right, stations)
        known = np.asarray(right, dtype=np.float32)
        foresight = Foresight.learn(before, right)
        return cls(stations, made, foresight, hints, chances, np.stack(sure), known, folds)

    def worth(self, alpha: npt.NDArray[np.floating] | float = 1.0) -> npt.NDArray[np.float64]:
        """What the answer given at each station was worth on the record [n, K], 1 - α_j · error_j of the agent
        whose answer that is; at α = 1, by default, whether it was right. 0 where nobody was asked.
        """
        weights = np.broadcast_to(np.asarray(alpha, dtype=np.float64), self.stations.shape[1])
        key = weights.tobytes()
        if key not in self._worths:
            # Plans for many prices are made with the same weights.
            self._worths = {key: self._weighed(weights)}
        return self._worths[key]

    def _weighed(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        rows, found = np.arange(len(self.right)), np.zeros((len(self.right), len(self.stations)))
        for k, (asked, chances) in enumerate(zip(self.stations, self.chances, strict=True)):
            if asked.any():
                whose = worthiest(chances, asked, weights)
                found[:, k] = 1 - weights[whose] * (1 - self.right[rows, whose])
        return found

    def plan(
        self,
        units: npt.NDArray[np.floating],
        price: float,
        allowed: Mask,
        alpha: npt.NDArray[np.floating] | float = 1.0,
    ) -> Plan:
        """What to do at a price, where only those `allowed` [A] may be asked and agents' errors weigh `alpha` [A].

        Of five plans the one that was worth most on questions of the record that it did not learn from:
        always the same agents; the one agent that was right on the nearest questions; one agent, or several
        at once, by all that is foreseen of the question; or to look at what was said before asking on. Of
        equal ones the first.
        """
        taken = price * (self.stations @ np.asarray(units, dtype=np.float64))
        ways = self._ways & (self.stations <= allowed).all(axis=1)
        np.fill_diagonal(ways, self.stations.any(axis=1))
        several = ways[self.start]
        worth = self.worth(alpha)
        mean = np.where(several, worth.mean(axis=0) - taken, -np.inf)
        same = np.arange(len(taken)) == mean.argmax()
        one = several & (self.stations.sum(axis=1) == 1)
        plans = [self._at_once(worth - taken, same)]
        if one.any():
            plans.append(self._nearest(worth - taken, one, taken, alpha))
        plans += [self._at_once(worth - taken, among) for among in (one, several)]
        return max([*plans, self._looking(worth, taken, ways)], key=lambda each: each[0])[1]

    def _nearest(
        self,
        worth: npt.NDArray[np.float64],
        one: Mask,
        taken: npt.NDArray[np.floating],
        alpha: npt.NDArray[np.floating] | float,
    ) -> tuple[float, Plan]:
        """What it is worth [n, K] on the record to ask whichever of the agents that are stations alone, `one`
        [K], has the largest share right among the nearest questions, weighed and less what it takes; and that
        plan. Nothing is fitted that could take chance for promise.
        """
        agents = self.stations.shape[1]
        weights = np.broadcast_to(np.asarray(alpha, dtype=np.float64), agents)
        of_each = np.zeros((1 + self._width, len(self.stations)))
        for k in np.flatnonzero(one):
            j = int(self.stations[k].argmax())
            of_each[0, k], of_each[1 + self._width - agents + j, k] = 1 - weights[j], weights[j]
        of_each[0] -= taken
        looks = predicted(_curve(self.hints, self.sure[self.start]), of_each)
        chosen = np.where(one, looks, -np.inf).argmax(axis=1)
        found = worth[np.arange(len(worth)), chosen]
        return float(found.mean()), self._blind(of_each.astype(np.float32), one)

    def _at_once(self, worth: npt.NDArray[np.float64], among: Mask) -> tuple[float, Plan]:
        """What it is worth [n, K] on the record to ask all of one station, of those `among` [K], and that plan."""
        found, weights = self._onward(self.start, worth, np.flatnonzero(among))
        return float(found.mean()), self._blind(weights, among)

    def _blind(self, weights: Floats, among: Mask) -> Plan:
        """To go from the start to whichever of the stations `among` [K] looks best by these weights [1 + f, K]."""
        ways = np.zeros_like(self._ways)
        ways[self.start] = among
        every: list[Floats] = [np.zeros((0, len(ways)), np.float32)] * len(ways)
        every[self.start] = weights
        return Plan(every, ways, blind=True)

    def _onward(
        self, k: int, targets: npt.NDArray[np.float64], open_: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], Floats]:
        """What came of going on from station k to whichever of those `open_` looked best [n], by targets [n, K],
        and the weights [f, K] of how each looks.

        Which looks best is said by a regression that did not learn from the question: the best of dozens
        that did is mostly the luckiest.
        """
        weights = np.zeros((1 + self._width, len(self.stations)), np.float32)
        if not len(open_):
            return np.zeros(len(targets)), weights
        weights[:, open_] = self._worth[k].weights(targets[:, open_])
        looks = self._worth[k].apart(targets[:, open_])
        return targets[np.arange(len(targets)), open_[looks.argmax(axis=1)]], weights

    def _looking(
        self, worth: npt.NDArray[np.float64], taken: npt.NDArray[np.floating], ways: Mask
    ) -> tuple[float, Plan]:
        """What it is worth on the record to look before asking on, where such ways [K, K] are open, and that plan;
        by what the answer at each station was `worth` [n, K] and what asking was `taken` [K] to cost.

        Backward from the station where all were asked (Longstaff & Schwartz 2001): what a station is
        worth for a question is what came of staying or of going on, whichever looked better there, less
        what was paid; and how it looks from elsewhere is the regression of that on what was known there.
        """
        value = np.zeros_like(worth)
        weights: list[Floats] = [np.zeros((0, len(ways)), np.float32)] * len(ways)
        for k in self._order:
            targets = value - (taken - taken[k])
            targets[:, k] = worth[:, k]
            value[:, k], weights[k] = self._onward(k, targets, np.flatnonzero(ways[k]))
        return float(value[:, self.start].mean()), Plan(weights, ways, blind=False)

    def ask(
        self,
        said: Said,
        before: npt.NDArray[np.floating],
        units: npt.NDArray[np.floating],
        price: float,
        *,
        times: npt.NDArray[np.floating] | None = None,
        allowed: Mask | None = None,
        alpha: npt.NDArray[np.floating] | float = 1.0,
    ) -> Asked:
        """Ask about every question at a price for what each agent takes, the `units` [A]; where questions
        differ in that, as those with long passages do, `times` [n, A] as much.

        `allowed` [A] is who may be asked at all, `alpha` [A] what an error of each weighs. Raises ConfigError
        for a price that is negative, or where nobody may be asked.
        """
        may = np.ones(said.agents, dtype=bool) if allowed is None else allowed
        at = np.full(len(said), self.start)
        choice = np.zeros(len(said), dtype=np.int64)
        chance = np.zeros(len(said), dtype=np.float32)
        every = np.ones(said.given.shape) if times is None else times
        hints = self.foresight(before)
        for rows, times_usual in alike(every):
            planned = Planned(self, units * times_usual, price, may, alpha)
            for k in reversed(self._order):
                mine = rows[at[rows] == k]
                if len(mine):
                    view = planned.look(k, said.take(mine), hints[mine])
                    whose = worthiest(view.chances, self.stations[k], alpha)
                    choice[mine] = whose
                    chance[mine] = view.chances[np.arange(len(mine)), whose]
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
        return np.clip(predicted(known, self._each[k]), 0, 1)

    def _right_alone(self) -> list[Floats]:
        """For every station the weights [1 + f, A] of that."""
        alone = np.full((len(self.right), self.stations.shape[1]), np.nan)
        for k in np.flatnonzero(self.stations.sum(axis=1) == 1):
            alone[:, self.stations[k]] = self.right[:, self.stations[k]]
        return [each.weights(alone).astype(np.float32) for each in self._worth]


class Planned:
    """A cascade at a price, for what an error of each agent weighs, `alpha` [A]: what it says at each station."""

    def __init__(
        self,
        cascade: Cascade,
        units: npt.NDArray[np.floating],
        price: float,
        allowed: Mask,
        alpha: npt.NDArray[np.floating] | float = 1.0,
    ) -> None:
        if not 0 <= price < np.inf:
            raise ConfigError(f"a price must be 0 or more, not {price}")
        self._cascade = cascade
        if (cascade.stations <= allowed).all(axis=1).sum() < 2:
            raise ConfigError("nobody may be asked; allow one agent at least")
        self._plan = cascade.plan(units, price, allowed, alpha)

    @property
    def blind(self) -> bool:
        """Whether it asks whom it chose before, whatever is said."""
        return self._plan.blind

    def look(self, k: int, said: Said, hints: Floats) -> View:
        """What is seen at station k, by what was foreseen of each question, `hints` [n, 1 + A]; the station
        itself stands for the best answer so far.
        """
        cascade = self._cascade
        verifier = cascade.verifiers[k]
        chances = np.zeros(said.given.shape, np.float32) if verifier is None else verifier(said)
        known = _curve(hints, sureness(said, cascade.stations[k], chances))
        looks = self._at_once(k, hints) if self.blind else self._looks(k, known)
        return View(chances, looks, cascade.foreseen(k, known))

    def _looks(self, k: int, known: Floats) -> Floats:
        """How good each station looks [n, K] from k, by what is known there [n, f]."""
        looks = predicted(known, self._plan.weights[k])
        looks[:, ~self._plan.ways[k]] = -np.inf
        return looks

    def _at_once(self, k: int, hints: Floats) -> Floats:
        """The same where nobody looks: those that were chosen at the start are asked, each in its turn."""
        cascade, start = self._cascade, self._cascade.start
        looks = self._looks(start, _curve(hints, np.zeros((len(hints), 5), np.float32)))
        if k == start:
            return looks
        chosen = looks.argmax(axis=1)
        on = (cascade.stations[k] < cascade.stations[chosen]).any(axis=1)
        on &= (cascade.stations[k] <= cascade.stations[chosen]).all(axis=1)
        found = np.full_like(looks, -np.inf)
        onward = np.where(on, chosen, k)
        rows = np.arange(len(looks))
        found[rows, onward] = looks[rows, chosen]
        return found


def _curve(hints: Floats, numbers: Floats) -> Floats:
    """How easy it looks, the five numbers of `sureness`, their squares and products, and who is right on
    questions like it [n, 27 + A]: a bent curve of a few.

    More is not better: regressions on everything that is known took chance for promise.
    """
    few = np.concatenate([hints[:, :1], numbers], axis=1)
    first, second = np.triu_indices(few.shape[1])
    return np.concatenate([few, few[:, first] * few[:, second], hints[:, 1:]], axis=1)
