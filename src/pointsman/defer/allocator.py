"""A learned cascade among a workspace's agents, as an allocator of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.deadline import Deadline
from pointsman.defer.before import Directions, Stored, encoding_gflops, vectors
from pointsman.defer.candidates import Said, said
from pointsman.defer.cascade import Cascade, Planned
from pointsman.defer.cost import Floats, Pricing, Times, rounded
from pointsman.defer.remembered import Remembered
from pointsman.defer.verifier import worthiest
from pointsman.errors import ConfigError
from pointsman.types import Allocation, Answer, FloatArray, Judged, Passage

# Questions whose answers were looked at; a server is asked about the same ones again and again.
_REMEMBERED = 1_024
# Plans, each for a price, for those that answered or may be asked, and for what a question takes of them.
_PLANS = 128

Seen = Sequence[Mapping[int, Answer]]
Mask = npt.NDArray[np.bool_]


class Judge(Protocol):
    """Says how likely a reader finds each of the answers `texts` [n][A], given the passages."""

    def __call__(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        texts: Sequence[Sequence[str | None]],
        deadline: Deadline | None = None,
    ) -> Judged:
        """Raises DeadlineError."""
        ...


def before(
    backbone: Backbone, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
) -> FloatArray:
    """What is known before anyone is asked [n, 3d], of each question and its first passage."""
    return vectors(backbone, questions, [_first(row) for row in contexts])


def shown(passages: Sequence[Passage]) -> str:
    """The passages as one text, in which answers are looked for."""
    return "\n".join(passage.text for passage in passages)


def check_agents(trained_for: Sequence[str], agents: Sequence[str]) -> None:
    """Raise ConfigError where an allocator was trained for other agents."""
    if tuple(trained_for) != tuple(agents):
        raise ConfigError(
            f"the allocator was trained for the agents {', '.join(trained_for)}, not for "
            f"{', '.join(agents) or 'none'}; train it again, or take it out of the settings"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Ahead:
    """What lies ahead: whom to ask next, `onward` [n], -1 for nobody, and what that `looks` worth [n], less
    what it takes; the `chances` of answers that were seen, what asking each agent is `worth`, -inf where no
    way leads there, and how likely each is `foreseen` to be right, all [n, A]; and whether agents are chosen
    `blind` [n], whatever is said.
    """

    onward: npt.NDArray[np.int64]
    looks: FloatArray
    chances: FloatArray
    worth: FloatArray
    foreseen: FloatArray
    blind: Mask

    def put(self, rows: Mask, other: _Ahead) -> None:
        """In these rows what the other says."""
        for name in self.__slots__:
            getattr(self, name)[rows] = getattr(other, name)


class CascadeAllocator:
    """Looks at what was said before it asks on (protocol `Allocator`).

    `units` [A] is what each agent takes, in any one unit; a changed price or unit needs no training.
    `judge` looks at the passages for what was said, where the cascade was trained with one; `stored` has
    passages' vectors, which are encoded else; `times` says how much more than usual a question takes;
    `alpha` [A] what an error of each agent weighs, 1 unless it is given. Raises ConfigError where the cascade
    was trained for other agents, and for an α that is negative or no number.
    """

    def __init__(
        self,
        backbone: Backbone,
        trained_for: Sequence[str],
        directions: Directions,
        cascade: Cascade,
        agents: Sequence[str],
        units: Sequence[float],
        judge: Judge | None = None,
        stored: Stored | None = None,
        times: Times | None = None,
        alpha: Sequence[float] | None = None,
    ) -> None:
        check_agents(trained_for, agents)
        self._backbone = backbone
        self._agents = tuple(agents)
        self._directions = directions
        self._cascade = cascade
        self._judge = judge
        self._stored = stored
        self._times = times
        pricing = Pricing.at(1.0, agents, units, alpha)
        self._units, self._alpha = pricing.beta, pricing.alpha
        self._sizes = cascade.stations.sum(axis=1)
        self._foreknown = Remembered[tuple[str, str]](_REMEMBERED)
        self._plans: dict[tuple[float, bytes, bytes], Planned] = {}
        self._liked: dict[tuple[str, ...], dict[str, float]] = {}

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Seen | None = None,
        deadline: Deadline | None = None,
        allowed: Mask | None = None,
    ) -> Allocation:
        """Whom to ask next, or whose answer to give, and how likely each answer seen is right.

        One that failed is as if it were not there, and what it took is spent whatever comes. `errors` are 1
        less the chance of what an agent said; of one that was not asked, 1 less how often it was right on
        the record where as much was known and looked like this.
        """
        count, agents = len(questions), len(self._agents)
        answers = seen or [{} for _ in questions]
        texts = [[_text(row.get(j)) for j in range(agents)] for row in answers]
        if not count:
            none = np.zeros((0, agents), dtype=np.float32)
            return Allocation(self._agents, np.zeros(0, dtype=np.int64), none, none)
        sure = [[_sure(row.get(j)) for j in range(agents)] for row in answers]
        judged = self._judged(questions, contexts, texts, deadline)
        looked = None if judged is None else judged.log_p
        found = said(questions, [shown(row) for row in contexts], texts, sure, looked)
        known, gflops = self._known(questions, contexts, deadline)
        if judged is not None:
            gflops += judged.gflops
        asked = np.array([[j in row for j in range(agents)] for row in answers], dtype=bool)
        failed = np.array(
            [[j in row and bool(row[j].failure) for j in range(agents)] for row in answers]
        )
        may = ~asked if allowed is None else allowed & ~asked
        times = np.ones(asked.shape)
        if self._times is not None:
            times = rounded(self._times(questions, contexts))
        ahead = self._ahead(price, found, known, asked & ~failed, may, times)
        spoke = np.array([[text is not None for text in row] for row in texts])
        silent = ahead.blind & (asked & ~failed & ~spoke).any(axis=1)
        if silent.any():
            # Of silence nothing was learned where nobody looks. It is as good as a failure, but a reply:
            # others are asked where that looks worth more than no answer.
            other = self._ahead(
                price, found.take(silent), known[silent], spoke[silent], may[silent], times[silent]
            )
            other.onward[~spoke[silent].any(axis=1) & (other.looks <= 0)] = -1
            ahead.put(silent, other)
        whose = worthiest(ahead.chances, np.ones(agents, dtype=bool), self._alpha)
        given = [_given(*each) for each in zip(answers, ahead.chances, whose, strict=True)]
        choice = np.where(ahead.onward >= 0, ahead.onward, given)
        errors = 1 - np.where(asked, ahead.chances, ahead.foreseen)
        wrong = self._alpha * errors
        alone = wrong + price * self._units * times
        onward = np.where(np.isfinite(ahead.worth), 1 - ahead.worth, alone)
        costs = np.maximum(np.nan_to_num(np.where(asked, wrong, onward), nan=1.0), 0)
        return Allocation(
            self._agents,
            choice,
            costs.astype(np.float32),
            ahead.chances,
            errors.astype(np.float32),
            gflops,
        )

    def _ahead(
        self, price: float, found: Said, known: FloatArray, heard: Mask, may: Mask, times: Floats
    ) -> _Ahead:
        """What lies ahead where the agents `heard` [n, A] answered, and those who `may` [n, A] can be asked,
        for so many `times` [n, A] what is usual.
        """
        count, agents = heard.shape
        chances, worth, foreseen = np.zeros((3, count, agents), dtype=np.float32)
        nobody, looks = np.full(count, -1), np.zeros(count, dtype=np.float32)
        ahead = _Ahead(nobody, looks, chances, worth, foreseen, np.zeros(count, dtype=bool))
        among = heard | may
        at = np.array([self._station(*each) for each in zip(heard, among, strict=True)])
        stands = np.concatenate([among, at[:, None], times], axis=1)
        for each in np.unique(stands, axis=0):
            mine, k = np.flatnonzero((stands == each).all(axis=1)), int(each[agents])
            planned = self._planned(price, each[:agents].astype(bool), each[agents + 1 :])
            view = planned.look(k, found.take(mine), known[mine])
            ahead.chances[mine], ahead.foreseen[mine] = view.chances, view.foreseen
            ahead.onward[mine] = self._onward(k, view.looks, may[mine])
            ahead.looks[mine] = view.looks.max(axis=1)
            # Asking an agent is worth as much as the best station where it is asked.
            ways = np.where(self._cascade.stations, view.looks[:, :, None], -np.inf)
            ahead.worth[mine] = ways.max(axis=1)
            ahead.blind[mine] = planned.blind
        return ahead

    def _planned(self, price: float, among: Mask, times: Floats) -> Planned:
        """The cascade at a price among some agents for questions that take so many `times` [A] what is usual,
        kept: a server asks at the same ones over and over.
        """
        if not among.any():  # Nobody is asked; what is told of them is told of all.
            among = np.ones_like(among)
        key = price, among.tobytes(), times.tobytes()
        planned = self._plans.get(key)
        if planned is None:
            planned = Planned(self._cascade, self._units * times, price, among, self._alpha)
            # A few prices, sets of agents and lengths are what there is; somebody may try a thousand.
            kept = list(self._plans.items())[1 - _PLANS :]
            self._plans = dict([*kept, (key, planned)])
        return planned

    def _known(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None,
    ) -> tuple[FloatArray, FloatArray]:
        """What is foreseen before anyone is asked [n, 1 + A], and what encoding took [n], once a question."""
        pairs = [(q, _first(row)) for q, row in zip(questions, contexts, strict=True)]
        ids = {row[0].content: row[0].id for row in contexts if row}

        def encode(new: list[tuple[str, str]]) -> tuple[FloatArray, list[float]]:
            asked, read = [q for q, _ in new], [text for _, text in new]
            known: dict[str, FloatArray] = {}
            if self._stored is not None:
                held = self._stored([ids[text] for text in dict.fromkeys(read) if text in ids])
                known = {text: held[id_] for text, id_ in ids.items() if id_ in held}
            before = self._directions(vectors(self._backbone, asked, read, deadline, known))
            return self._cascade.foresight(before), encoding_gflops(
                self._backbone, asked, read, known
            )

        return self._foreknown(pairs, encode)

    def _judged(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        texts: Sequence[Sequence[str | None]],
        deadline: Deadline | None,
    ) -> Judged | None:
        """What the judge thinks of each answer, asked only where one is new, and what that took."""
        if self._judge is None:
            return None
        keys = [
            (question, *(passage.text for passage in row))
            for question, row in zip(questions, contexts, strict=True)
        ]
        new = [
            i
            for i, (key, row) in enumerate(zip(keys, texts, strict=True))
            if any(text and text not in self._liked.get(key, {}) for text in row)
        ]
        if len(self._liked) > _REMEMBERED:
            self._liked = {key: self._liked.get(key, {}) for key in keys}
        gflops = np.zeros(len(questions), dtype=np.float32)
        if new:
            rows = [texts[i] for i in new]
            found = self._judge(
                [questions[i] for i in new], [contexts[i] for i in new], rows, deadline
            )
            gflops[new] = found.gflops
            for i, row, liked in zip(new, rows, found.log_p.tolist(), strict=True):
                here = self._liked.setdefault(keys[i], {})
                here.update({text: p for text, p in zip(row, liked, strict=True) if text})
        liked_by = [self._liked.get(key, {}) for key in keys]
        log_p = [
            [here[text] if text else 0.0 for text in row]
            for here, row in zip(liked_by, texts, strict=True)
        ]
        shape = len(questions), len(self._agents)
        return Judged(np.array(log_p, dtype=np.float32).reshape(shape), gflops)

    def _station(self, heard: Mask, among: Mask) -> int:
        """The smallest station that holds all that were heard [A], of the agents `among` [A] if there is one.

        Where there is none, a question is on its way to a station with an agent that failed.
        """
        stations, more = self._cascade.stations, len(heard) + 1
        astray = ~(stations <= among).all(axis=1) + 2 * ~(stations >= heard).all(axis=1)
        return int((self._sizes + more * astray).argmin())

    def _onward(self, k: int, looks: FloatArray, may: Mask) -> npt.NDArray[np.int64]:
        """Whom to ask next [n] of those who `may` [n, A]: first whoever is missing at station k; -1 for nobody."""
        stations = self._cascade.stations
        missing = stations[k] & may
        further = stations[looks.argmax(axis=1)] & may
        missing = np.where(missing.any(axis=1, keepdims=True), missing, further)
        cheapest = np.where(missing, self._units, np.inf).argmin(axis=1)
        return np.where(missing.any(axis=1), cheapest, -1)


def _first(passages: Sequence[Passage]) -> str:
    """The text of the passage that counts before anyone is asked."""
    return passages[0].content if passages else ""


def _given(answers: Mapping[int, Answer], chances: FloatArray, whose: int) -> int:
    """Whose answer is given: the one that was found, `whose`; where none is likely, of a silent agent before
    one that failed, the last of them; -1 where nobody was asked.
    """
    if chances[whose] > 0:
        return int(whose)
    return max(reversed(list(answers)), key=lambda j: not answers[j].failure, default=-1)


def _sure(answer: Answer | None) -> float | None:
    """How likely an agent itself finds its answer."""
    return None if answer is None or not answer.text else answer.confidence


def _text(answer: Answer | None) -> str | None:
    """What an agent said; nothing where it failed or was not asked."""
    return None if answer is None or not answer.text else answer.text
