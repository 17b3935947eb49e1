"""A learned cascade among a workspace's agents, as an allocator of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.deadline import Deadline
from pointsman.defer.before import Directions, encoding_gflops, vectors
from pointsman.defer.candidates import said
from pointsman.defer.cascade import Cascade, Planned
from pointsman.defer.cost import to_dearest
from pointsman.defer.remembered import Remembered
from pointsman.errors import ConfigError
from pointsman.types import Allocation, Answer, FloatArray, Judged, Passage

# Questions whose answers were looked at; a server is asked about the same ones again and again.
_REMEMBERED = 1_024

Seen = Sequence[Mapping[int, Answer]]


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


class CascadeAllocator:
    """Looks at what was said before it asks on (protocol `Allocator`).

    `units` [A] is what each agent takes, in any one unit; a changed price or unit needs no training.
    `judge` looks at the passages for what was said, where the cascade was trained with one. Raises
    ConfigError where the cascade was trained for other agents.
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
    ) -> None:
        check_agents(trained_for, agents)
        self._backbone = backbone
        self._agents = tuple(agents)
        self._directions = directions
        self._cascade = cascade
        self._judge = judge
        self._units = to_dearest(units)
        self._sizes = cascade.stations.sum(axis=1)
        self._foreknown = Remembered[tuple[str, str]](_REMEMBERED)
        self._plans: dict[float, Planned] = {}
        self._liked: dict[tuple[str, ...], dict[str, float]] = {}

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Seen | None = None,
        deadline: Deadline | None = None,
    ) -> Allocation:
        """Whom to ask next, or whose answer to give, and how likely each answer seen is right."""
        count, agents = len(questions), len(self._agents)
        answers = seen or [{} for _ in questions]
        planned = self._planned(price)
        texts = [[_text(row.get(j)) for j in range(agents)] for row in answers]
        asked = np.array([[j in row for j in range(agents)] for row in answers], dtype=bool)
        choice = np.zeros(count, dtype=np.int64)
        chances = np.zeros((count, agents), dtype=np.float32)
        worth = np.zeros((count, agents), dtype=np.float32)
        if not count:
            return Allocation(self._agents, choice, worth, chances)
        sure = [[_sure(row.get(j)) for j in range(agents)] for row in answers]
        judged = self._judged(questions, contexts, texts, deadline)
        looked = None if judged is None else judged.log_p
        found = said(questions, [shown(row) for row in contexts], texts, sure, looked)
        known, gflops = self._known(questions, contexts, deadline)
        if judged is not None:
            gflops += judged.gflops
        at = np.array([self._station(row) for row in asked])
        for k in np.unique(at):
            mine = np.flatnonzero(at == k)
            chances[mine], looks = planned.look(int(k), found.take(mine), known[mine])
            for i, row in zip(mine, looks, strict=True):
                choice[i], worth[i] = self._next(int(k), asked[i], row, chances[i])
        errors = np.where(asked, 1 - chances, np.nan).astype(np.float32)
        return Allocation(self._agents, choice, 1 - worth, chances, errors, gflops)

    def _planned(self, price: float) -> Planned:
        """The cascade at a price, kept: a server asks at the same one over and over."""
        planned = self._plans.get(price)
        if planned is None:
            everyone = np.ones(len(self._agents), dtype=bool)
            planned = Planned(self._cascade, self._units, price, everyone)
            # One price at a time is what there is; somebody may try a thousand.
            self._plans = {price: planned}
        return planned

    def _known(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None,
    ) -> tuple[FloatArray, FloatArray]:
        """What is known before anyone is asked [n, f], and what encoding took [n], once a question."""
        pairs = [(q, _first(row)) for q, row in zip(questions, contexts, strict=True)]

        def encode(new: list[tuple[str, str]]) -> tuple[FloatArray, list[float]]:
            asked, read = [q for q, _ in new], [text for _, text in new]
            found = self._directions(vectors(self._backbone, asked, read, deadline))
            return found, encoding_gflops(self._backbone, asked, read)

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

    def _station(self, asked: npt.NDArray[np.bool_]) -> int:
        """The smallest station that holds all that were asked: where a cascade on its way is going."""
        holds = (self._cascade.stations >= asked).all(axis=1)
        return int(np.where(holds, self._sizes, len(asked) + 1).argmin())

    def _next(
        self, k: int, asked: npt.NDArray[np.bool_], looks: FloatArray, chances: FloatArray
    ) -> tuple[int, FloatArray]:
        """Whom to ask, or an agent that was asked to give its answer; and how good each agent looks."""
        stations = self._cascade.stations
        best = int(chances.argmax())
        # An agent looks as good as the best station where it is asked.
        ways = np.where(stations & np.isfinite(looks)[:, None], looks[:, None], -np.inf)
        worth = np.where(asked, chances, ways.max(axis=0))
        worth = np.clip(np.nan_to_num(worth, neginf=0.0), 0.0, 1.0)
        missing = stations[k] & ~asked
        if not missing.any():
            missing = stations[int(looks.argmax())] & ~asked
        if not missing.any():
            return best, worth
        cheapest = np.where(missing, self._units, np.inf).argmin()
        return int(cheapest), worth


def _first(passages: Sequence[Passage]) -> str:
    """The text of the passage that counts before anyone is asked."""
    return passages[0].content if passages else ""


def _sure(answer: Answer | None) -> float | None:
    """How likely an agent itself finds its answer."""
    return None if answer is None or not answer.text else answer.confidence


def _text(answer: Answer | None) -> str | None:
    """What an agent said; nothing where it failed or was not asked."""
    return None if answer is None or not answer.text else answer.text
