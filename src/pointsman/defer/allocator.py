"""A learned cascade among a workspace's agents, as an allocator of the pipeline, and on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import read_safetensors
from pointsman.backbone.whole import check_only_over, whole_folder
from pointsman.defer.candidates import said
from pointsman.defer.cascade import Cascade, Planned
from pointsman.defer.logistic import Logistic
from pointsman.defer.verifier import Logit, Verifier
from pointsman.errors import BackboneMismatchError, ConfigError, SpecialistError
from pointsman.types import Allocation, Answer, FloatArray, Passage

DESCRIPTION, WEIGHTS = "allocator.json", "allocator.safetensors"
FORMAT_VERSION = 2

# Questions whose answers were looked at; a server is asked about the same ones again and again.
_REMEMBERED = 1_024

Seen = Sequence[Mapping[int, Answer]]
Judge = Callable[
    [Sequence[str], Sequence[Sequence[Passage]], Sequence[Sequence[str | None]]], FloatArray
]
"""Questions, their passages, answers [n][A] -> how likely a reader finds each, log-probabilities [n, A]."""


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """What is known before anyone is asked, in few numbers: (x - `mean` [d]) · `main` [d, f]."""

    mean: FloatArray
    main: FloatArray

    @classmethod
    def of(cls, vectors: FloatArray, width: int = 64) -> Directions:
        """The main directions of vectors [n, d], as many as a tenth of n can carry."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        _, found = np.linalg.eigh(centred.T @ centred)
        width = max(1, min(width, len(vectors) // 10))
        return cls(mean, np.ascontiguousarray(found[:, ::-1][:, :width], dtype=np.float32))

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Numbers [n, f] of vectors [n, d]."""
        return np.asarray((vectors - self.mean) @ self.main, dtype=np.float32)


def before(
    backbone: Backbone, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
) -> FloatArray:
    """Vectors [n, 3d] of each question, of its first passage, and of what they have in common."""
    asked = backbone.encode(questions, prompt="query")
    firsts = [row[0].content if row else "" for row in contexts]
    distinct = list(dict.fromkeys(firsts))
    place = {text: i for i, text in enumerate(distinct)}
    read = backbone.encode(distinct)[[place[text] for text in firsts]]
    together = asked * read * asked.shape[1] ** 0.5
    return np.concatenate([asked, read, together], axis=1).astype(np.float32)


def shown(passages: Sequence[Passage]) -> str:
    """The passages as one text, in which answers are looked for."""
    return "\n".join(passage.text for passage in passages)


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
        if tuple(trained_for) != tuple(agents):
            raise ConfigError(
                f"the allocator was trained for the agents {', '.join(trained_for)}, not for "
                f"{', '.join(agents) or 'none'}; train it again, or take it out of the settings"
            )
        self._backbone = backbone
        self._agents = tuple(agents)
        self._directions = directions
        self._cascade = cascade
        self._judge = judge
        dearest = max(units, default=0.0)
        self._units = np.asarray(units, dtype=np.float64) / (dearest or 1.0)
        self._sizes = cascade.stations.sum(axis=1)
        self._plans: dict[float, Planned] = {}
        self._liked: dict[tuple[str, ...], dict[str, float]] = {}

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Seen | None = None,
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
        looked = self._looked(questions, contexts, texts)
        found = said(questions, [shown(row) for row in contexts], texts, sure, looked)
        known = self._directions(before(self._backbone, questions, contexts))
        at = np.array([self._station(row) for row in asked])
        for k in np.unique(at):
            mine = np.flatnonzero(at == k)
            chances[mine], looks = planned.look(int(k), found.take(mine), known[mine])
            for i, row in zip(mine, looks, strict=True):
                choice[i], worth[i] = self._next(int(k), asked[i], row, chances[i])
        return Allocation(self._agents, choice, 1 - worth, chances)

    def _planned(self, price: float) -> Planned:
        """The cascade at a price, kept: a server asks at the same one over and over."""
        if price not in self._plans:
            everyone = np.ones(len(self._agents), dtype=bool)
            # One price at a time is what there is; somebody may try a thousand.
            self._plans = {price: Planned(self._cascade, self._units, price, everyone)}
        return self._plans[price]

    def _looked(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        texts: Sequence[Sequence[str | None]],
    ) -> FloatArray | None:
        """What the judge thinks of each answer [n, A], asked only where one is new: on its way a question
        comes here once for every agent.
        """
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
        if new:
            rows = [texts[i] for i in new]
            found = self._judge([questions[i] for i in new], [contexts[i] for i in new], rows)
            for i, row, liked in zip(new, rows, found.tolist(), strict=True):
                here = self._liked.setdefault(keys[i], {})
                here.update({text: p for text, p in zip(row, liked, strict=True) if text})
        liked_by = [self._liked.get(key, {}) for key in keys]
        return np.array(
            [
                [here[text] if text else 0.0 for text in row]
                for here, row in zip(liked_by, texts, strict=True)
            ],
            dtype=np.float32,
        ).reshape(len(questions), len(self._agents))

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


def save_allocator(
    folder: Path,
    backbone: Backbone,
    agents: Sequence[str],
    directions: Directions,
    cascade: Cascade,
    record: Mapping[str, Any],
    card: str,
) -> None:
    """Write a cascade aside and move it into place. Raises SpecialistError, ReadOnlyError."""
    from safetensors.torch import save_file

    tensors = {f"directions.{k}": getattr(directions, k) for k in ("mean", "main")}
    tensors |= {f"easy.{k}": getattr(cascade.easy, k) for k in _LOGISTIC}
    tensors |= {k: getattr(cascade, k) for k in ("hopes", "sure", "right")}
    for k, verifier in enumerate(cascade.verifiers):
        if verifier is not None:
            tensors |= {f"{k}.logit.{n}": getattr(verifier.logit, n) for n in _LOGIT}
            tensors |= {f"{k}.best.{n}": getattr(verifier.best_right, n) for n in _LOGISTIC}
    description = {
        "format_version": FORMAT_VERSION,
        "base": {"sha256": backbone.identity.sha256, "name": backbone.identity.name},
        "agents": list(agents),
        "stations": cascade.stations.astype(int).tolist(),
        **record,
    }
    with whole_folder(folder, check_allocator_replaceable) as aside:
        save_file(
            {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in tensors.items()},
            aside / WEIGHTS,
        )
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (aside / DESCRIPTION).write_text(text, encoding="utf-8")
        (aside / "README.md").write_text(card, encoding="utf-8")


def load_allocator(
    folder: Path,
    backbone: Backbone,
    agents: Sequence[str],
    units: Sequence[float],
    judge: Judge | None = None,
) -> CascadeAllocator:
    """Read a cascade for these agents; `judge` is asked where it was trained with one.

    Raises SpecialistError where it is corrupt, BackboneMismatchError where it was trained on another
    base, ConfigError where it was trained for other agents, or with a reader that looks and there is none.
    """
    path = folder / DESCRIPTION
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        base, names = known["base"], [str(name) for name in known["agents"]]
        stations = np.array(known["stations"], dtype=bool)
        version, looks = int(known["format_version"]), bool(known.get("looks", False))
    except FileNotFoundError:
        raise SpecialistError(f"{folder}: not an allocator (no {DESCRIPTION})") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecialistError(f"{path}: corrupt ({error!r}); copy or train it again") from error
    if version > FORMAT_VERSION:
        raise SpecialistError(
            f"{folder}: format {version} is newer than this Pointsman knows ({FORMAT_VERSION}); upgrade it"
        )
    if version < FORMAT_VERSION:
        raise SpecialistError(
            f"{folder}: format {version} knows nothing of how sure agents are; train it again "
            "(what they answered is kept, and nobody is asked twice)"
        )
    if base["sha256"] != backbone.identity.sha256:
        raise BackboneMismatchError(
            f"{folder.name} was trained on the base {base['name']}, this one is {backbone.identity.name}"
        )
    if looks and judge is None:
        raise ConfigError(
            f"{folder.name} was trained with a reader that looks at the passages; it needs one here too"
        )
    found = {k: v.numpy() for k, v in read_safetensors(folder / WEIGHTS).items()}

    def part(prefix: str, names: Sequence[str]) -> list[Any]:
        return [found[f"{prefix}.{name}"] for name in names]

    try:
        verifiers = [
            Verifier(
                asked, Logit(*part(f"{k}.logit", _LOGIT)), Logistic(*part(f"{k}.best", _LOGISTIC))
            )
            if asked.any()
            else None
            for k, asked in enumerate(stations)
        ]
        easy = Logistic(*part("easy", _LOGISTIC))
        cascade = Cascade(stations, verifiers, easy, found["hopes"], found["sure"], found["right"])
        directions = Directions(*part("directions", ("mean", "main")))
    except (KeyError, ValueError, IndexError) as error:
        raise SpecialistError(f"{folder / WEIGHTS}: corrupt ({error!r}); train it again") from error
    return CascadeAllocator(
        backbone, names, directions, cascade, agents, units, judge if looks else None
    )


def check_allocator_replaceable(folder: Path) -> None:
    """Raise SpecialistError where something other than an allocator would be overwritten."""
    check_only_over(folder, DESCRIPTION, "an allocator")


_LOGISTIC = ("mean", "spread", "weights", "bias")
_LOGIT = ("mean", "spread", "weights")


def _sure(answer: Answer | None) -> float | None:
    """How likely an agent itself finds its answer."""
    return None if answer is None or not answer.text else answer.confidence


def _text(answer: Answer | None) -> str | None:
    """What an agent said; nothing where it failed or was not asked."""
    return None if answer is None or not answer.text else answer.text
