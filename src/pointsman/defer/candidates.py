"""What several agents said to one question, as arrays: who agrees with whom, and what each answer looks like.

n counts questions, A agents. Nothing here knows what is right, and nothing is learned.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from pointsman.defer.logistic import log_odds
from pointsman.errors import InputError
from pointsman.evaluate.reading import normalize_answer

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_KINDS = (
    ("how many", "how much"),
    ("how",),
    ("who", "whom", "whose"),
    ("when", "what year", "what date"),
    ("where",),
    ("which",),
    ("why",),
    ("what",),
)
_WORD = re.compile(r"\w+")
_NEAR = 10
# No agent is surer than this that its answer is right, or wrong.
_NEVER = 0.002
_STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "by",
        "with",
        "and",
        "or",
        "is",
        "was",
        "were",
        "are",
        "be",
        "been",
        "did",
        "do",
        "does",
        "has",
        "have",
        "had",
        "what",
        "which",
        "who",
        "whom",
        "whose",
        "when",
        "where",
        "why",
        "how",
        "that",
        "this",
        "it",
        "its",
        "as",
        "from",
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """The answers of n questions by A agents.

    `same` [n, A, A] is whether two agents gave one answer, as SQuAD normalises it, and `overlap`
    [n, A, A] the F1 of their words; `bounds` [n, A, A, 4] whether the first's lies within the
    second's, holds it, begins with the same word, ends with the same, where both are spans of the
    context. All are 0 beside an agent that gave nothing. `given` [n, A] is whether an agent answered at
    all. `shape` [n, A, s] describes an answer by itself and in its passage, `asked` [n, q] the question.
    `own` [n, A] is how sure each agent says that it is itself, in
    log-odds, 0 where it says nothing of the kind; `looked` [n, A] how likely a reader of ours that looked
    at the passage finds each answer, its log-probability, 0 where none looked.
    """

    given: Mask
    same: Mask
    overlap: Floats
    bounds: Floats
    shape: Floats
    asked: Floats
    own: Floats
    looked: Floats

    def __len__(self) -> int:
        return len(self.given)

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return int(self.given.shape[1])

    def take(self, rows: npt.NDArray[np.int64]) -> Said:
        """These questions, in this order."""
        return Said(*(getattr(self, each.name)[rows] for each in fields(self)))

    def among(self, agents: Mask) -> Said:
        """The answers of these agents [A] alone."""
        return Said(
            self.given[:, agents],
            self.same[:, agents][:, :, agents],
            self.overlap[:, agents][:, :, agents],
            self.bounds[:, agents][:, :, agents],
            self.shape[:, agents],
            self.asked,
            self.own[:, agents],
            self.looked[:, agents],
        )

    def hearing(self, agents: Mask) -> Said:
        """The same where all but these agents [A] said nothing."""
        pairs = agents[:, None] & agents[None, :]
        return Said(
            self.given & agents,
            self.same & pairs,
            self.overlap * pairs,
            self.bounds * pairs[:, :, None],
            self.shape,
            self.asked,
            self.own * agents,
            self.looked * agents,
        )

    @classmethod
    def stacked(cls, parts: Sequence[Said]) -> Said:
        """All questions of several."""
        return cls(
            *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls))
        )


def said(
    questions: Sequence[str],
    contexts: Sequence[str],
    answers: Sequence[Sequence[str | None]],
    sure: Sequence[Sequence[float | None]] | None = None,
    looked: Floats | None = None,
) -> Said:
    """Of questions [n] with their contexts [n] ("" for none) and each agent's answer [n][A], None for none.

    `sure` [n][A] is how likely an agent itself says that its answer is right, None where it does not;
    `looked` [n, A] the log-probabilities of answers by a reader that looked.
    Raises InputError where the lengths differ or there is no question.
    """
    if not len(questions) == len(contexts) == len(answers) or not questions:
        raise InputError(
            f"{len(questions)} questions, {len(contexts)} contexts and {len(answers)} rows of answers"
        )
    agents = len(answers[0])
    if any(len(row) != agents for row in answers):
        raise InputError("every question needs one answer an agent, None where it gave none")
    rows = [_one(*each) for each in zip(questions, contexts, answers, strict=True)]
    given, same, overlap, bounds, shape, asked = (
        np.stack(column) for column in zip(*rows, strict=True)
    )
    own = np.zeros(given.shape)
    if sure is not None:
        if len(sure) != len(answers) or any(len(row) != agents for row in sure):
            raise InputError("every answer needs a chance, None where its agent gave none")
        chances = np.array([[0.5 if p is None else p for p in row] for row in sure])
        own = log_odds(chances.clip(_NEVER, 1 - _NEVER)) * given
    seen = np.zeros(given.shape, np.float32) if looked is None else np.asarray(looked, np.float32)
    if seen.shape != given.shape:
        raise InputError(f"{seen.shape} log-probabilities of {given.shape} answers")
    return Said(given, same, overlap, bounds, shape, asked, own.astype(np.float32), seen * given)


def features(said: Said, seen: Mask) -> Floats:
    """What a verifier looks at [n, A, f]: each agent's answer where the agents `seen` [n, A] were asked.

    Who of them gives the same answer and how sure of it they say they are, how much their words overlap,
    where agents that mean the same place disagree about where it begins and ends, how many agree, what a
    reader that looked thinks of it, and the answer's shape: what tells the answers of one question from
    one another. Rows of agents that were not seen mean nothing.
    """
    seen = seen & said.given
    votes = said.same & seen[:, None, :]
    soft = said.overlap * seen[:, None, :]
    count = votes.sum(-1, keepdims=True)
    total = seen.sum(-1)[:, None, None]
    numbers = [
        count,
        count / np.maximum(total, 1),
        soft.sum(-1, keepdims=True) / np.maximum(total, 1),
        said.looked[:, :, None],
        probable(said.looked)[:, :, None],
    ]
    bounds = (said.bounds * seen[:, None, :, None]).reshape(*votes.shape[:2], -1)
    parts = [votes, votes * said.own[:, None, :], soft, bounds, *numbers, said.shape]
    return np.concatenate([np.asarray(part, dtype=np.float32) for part in parts], axis=-1)


def first_of_each(said: Said, seen: Mask) -> Mask:
    """Of the agents seen [n, A] the first of each different answer [n, A]."""
    seen = seen & said.given
    earlier = np.tril(np.ones((said.agents, said.agents), dtype=bool), -1)
    repeated = (said.same & seen[:, None, :] & earlier[None]).any(-1)
    return np.asarray(seen & ~repeated)


def probable(looked: Floats) -> Floats:
    """Probabilities [n, A] of log-probabilities; 0 where nobody looked, not 1."""
    return np.asarray(np.where(looked < 0, np.exp(looked), 0), dtype=np.float32)


def question_kind(question: str) -> int:
    """Which kind of question it is, by its words; the last number is any other kind."""
    text = f" {' '.join(_WORD.findall(question.lower()))} "
    for i, words in enumerate(_KINDS):
        if any(f" {word} " in text for word in words):
            return i
    return len(_KINDS)


def _one(
    question: str, context: str, answers: Sequence[str | None]
) -> tuple[Mask, Mask, Floats, Floats, Floats, Floats]:
    normal = ["" if answer is None else normalize_answer(answer) for answer in answers]
    given = np.array([bool(text) for text in normal])
    both = given[:, None] & given[None, :]
    same = np.array([[one == other for other in normal] for one in normal]) & both
    tokens = [text.split() for text in normal]
    bounds = np.array([[_bounds(one, other) for other in tokens] for one in tokens], np.float32)
    # Only spans of one text begin and end somewhere; sentences of somebody's own do not.
    lowered, words = context.lower(), _content(question)
    span = np.array([answer is not None and answer.lower() in lowered for answer in answers])
    bounds *= (span[:, None] & span[None, :])[:, :, None]
    bags = [Counter(words) for words in tokens]
    overlap = np.array([[_f1(one, other) for other in bags] for one in bags], dtype=np.float32)
    kind = np.eye(len(_KINDS) + 1, dtype=np.float32)[question_kind(question)]
    shape = np.stack([_shape(answer or "", lowered, words, kind) for answer in answers])
    asked = [math.log1p(len(question)), math.log1p(len(context)), float(len(words)), *kind]
    return given, same, overlap * both, bounds, shape, np.array(asked, dtype=np.float32)


def _shape(answer: str, context: str, words: frozenset[str], kind: Floats) -> Floats:
    """An answer's length, what it is made of, where it stands and what stands about it."""
    tokens = answer.split()
    number = any(character.isdigit() for character in answer)
    capital = any(token[:1].isupper() for token in tokens)
    count = context.count(answer.lower()) if answer else 0
    place = context.find(answer.lower()) if count else -1
    near, nearest = 0.0, 0.0
    if place >= 0:
        end = place + len(answer)
        before = _WORD.findall(context[max(0, place - 120) : place])[-_NEAR:]
        after = _WORD.findall(context[end : end + 120])[:_NEAR]
        near = len(words.intersection(before + after)) / max(1, len(words))
        sentence = context[
            context.rfind(". ", 0, place) + 1 : (context.find(". ", end) + 1) or None
        ]
        nearest = len(words.intersection(_WORD.findall(sentence))) / max(1, len(words))
    repeated = len(words.intersection(_WORD.findall(answer.lower()))) / max(1, len(tokens))
    first = tokens[0].lower() in _STOP if tokens else False
    last = tokens[-1].lower() in _STOP if tokens else False
    plain = [
        math.log1p(len(tokens)),
        float(len(tokens) == 1),
        float(len(tokens) > 5),
        float(number),
        float(capital),
        float(count > 0),
        math.log1p(count),
        place / max(1, len(context)) if place >= 0 else -1.0,
        near,
        nearest,
        repeated,
        float(first),
        float(last),
        float(answer[-1:] in {".", ",", ";", ":"}),
    ]
    return np.concatenate(
        [np.array(plain, dtype=np.float32), kind * number, kind * capital, kind * len(tokens)]
    ).astype(np.float32)


def _content(question: str) -> frozenset[str]:
    return frozenset(_WORD.findall(question.lower())) - _STOP


def _bounds(one: Sequence[str], other: Sequence[str]) -> tuple[bool, bool, bool, bool]:
    """Whether one answer's words lie within another's, hold them, begin and end alike."""
    if not one or not other:
        return False, False, False, False
    short, long = (f" {' '.join(words)} " for words in (one, other))
    differ = short != long
    return (
        differ and short in long,
        differ and long in short,
        one[0] == other[0],
        one[-1] == other[-1],
    )


def _f1(one: Counter[str], other: Counter[str]) -> float:
    shared = (one & other).total()
    return 2 * shared / (one.total() + other.total()) if shared else 0.0
