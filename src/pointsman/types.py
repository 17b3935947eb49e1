"""What crosses a border between rooms: frozen dataclasses and the arrays in them.

Nothing here computes, reads a file or imports a model, so every room may import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pointsman.trace import Cost, Trace

Mode = Literal["hybrid", "dense", "bm25"]
"""How passages are found: by meaning and words, by meaning, or by words."""
FloatArray = npt.NDArray[np.float32]
Metadata = Mapping[str, str | int | float | bool]
Where = Mapping[str, "str | int | float | bool | Sequence[str | int | float | bool]"]
"""A metadata filter: each field equals its value, or one of its values."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document as its source holds it, before it is cut into passages."""

    id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: what is indexed, retrieved and read.

    `start` and `end` are character offsets of `text` in the document's text; a document that is
    not cut is one passage with its own id, `start=0` and `end=len(text)`. `belief` is what a selector
    gives a reader along: log-odds that are added to those of its spans.
    """

    id: str
    text: str
    title: str = ""
    document: str = ""
    start: int = 0
    end: int = 0
    metadata: Metadata = field(default_factory=dict)
    belief: float = field(default=0.0, compare=False)

    @property
    def content(self) -> str:
        """Title and text as one string: what the encoder embeds and what BM25 matches."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a retrieval collection."""

    id: str
    text: str


Qrels = Mapping[str, Mapping[str, int]]
"""Relevance judgements: query id -> document id -> grade."""

Run = Mapping[str, Mapping[str, float]]
"""A ranking: query id -> document id -> score, higher is better."""


@dataclass(frozen=True, slots=True)
class ReadingExample:
    """A question about one context, with every annotator's answer; no answers means unanswerable.

    `starts` are character offsets of `answers` in `context`. `cluster` names what the example must
    not be resampled apart from (an article, a product, a paper).
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    title: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class BackboneIdentity:
    """What makes two encoders interchangeable for one index: same weights, same way of pooling."""

    sha256: str
    name: str
    dimension: int
    pooling: str
    max_length: int
    prompts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage. `score` is cosine (dense), BM25, or the fused score (hybrid)."""

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class Routing:
    """Which expert embeds each query: `weights` [n, experts] (rows sum to 1), `scores` [n, experts].

    `dense_shift` [n] is how much more than usual vectors should count in a hybrid search for each
    query, in [-1, 1]; None: as usual for all.
    """

    experts: tuple[str, ...]
    weights: FloatArray
    scores: FloatArray
    dense_shift: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """How relevant the passages of one question are: `probabilities` [n, grades], lowest grade first;
    `gflops` is what grading took.
    """

    probabilities: FloatArray
    gflops: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which of one question's n passages the reader sees: their places `order` [k] in reading order.

    `chances` [n] is how likely each was: a chosen one when its turn came, the others at the turn after
    the last; None where nothing was weighed. `beliefs` [n] are what the log-odds of each one's spans
    should be moved by, against one another: log-probabilities that it is the one to read, were it only
    one, less what the reader is known to think so already; None where nothing is believed. `gflops` is
    what selecting took; `reason` says in a few words how it came to so many.
    """

    order: npt.NDArray[np.int64]
    chances: FloatArray | None = None
    gflops: float = 0.0
    beliefs: FloatArray | None = None
    reason: str = ""

    def of(self, passages: Sequence[Passage]) -> list[Passage]:
        """The chosen ones in reading order, each with what is believed of it against the best of them."""
        if self.beliefs is None or not len(self.order):
            return [passages[i] for i in self.order]
        chosen = self.beliefs[self.order]
        against = (chosen - chosen.max()).tolist()
        return [
            replace(passages[i], belief=belief)
            for i, belief in zip(self.order, against, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a reader saw in one question's n passages, each by itself: log-odds against "no answer" of the
    `best` span [n], of the `second` [n], and log Σ exp of those of `all` spans [n], -inf where there is
    none; the best spans' `texts` [n]. `gflops` is what looking took.
    """

    best: npt.NDArray[np.float64]
    second: npt.NDArray[np.float64]
    all: npt.NDArray[np.float64]
    texts: tuple[str, ...]
    gflops: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one of the passages that a reader was given.

    `passage` is the passage's place in that list, `start` and `end` are character offsets in its
    text, `score` is the log-odds against "no answer", `probability` is normalised over all spans of
    all passages and "no answer".
    """

    text: str
    passage: int
    start: int
    end: int
    score: float
    probability: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader found for one question: its n best spans, best first.

    `no_answer` is the probability that no passage holds an answer; `confidence` is the calibrated
    probability that the best span is right; `gflops` is what reading took.
    """

    spans: tuple[Span, ...]
    no_answer: float
    confidence: float
    gflops: float = 0.0


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which agent each question goes to: index into `agents`, or -1 to abstain; expected costs [n, agents].

    `confidence` [n, agents] is how likely each answer that was seen is right, where the allocator knows
    better than the agent that gave it. `errors` [n, agents] is how likely each agent is wrong, as far as
    the allocator knows that apart from costs, NaN where it does not. `gflops` [n] is what deciding took.
    """

    agents: tuple[str, ...]
    choice: npt.NDArray[np.int64]
    expected_cost: FloatArray
    confidence: FloatArray | None = None
    errors: FloatArray | None = None
    gflops: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """How likely a reader finds the answers that others gave: `log_p` [n, agents], and what it took to
    read each question's passages, `gflops` [n].
    """

    log_p: FloatArray
    gflops: FloatArray


@dataclass(frozen=True, slots=True)
class Answer:
    """An agent's answer to one question.

    `text` is empty exactly when the agent abstained or failed; `passage` is then None, and
    `confidence` the probability that had stood for the best candidate. `start` and `end` mark the
    answer in `passage.text` where the answer is a span of it.
    """

    question: str
    text: str
    confidence: float
    passage: Passage | None = None
    start: int | None = None
    end: int | None = None
    agent: str = ""
    alternatives: tuple[tuple[Span, Passage], ...] = ()
    abstained: bool = False
    failure: str = ""
    cost: Cost = Cost()
    trace: Trace = Trace()

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON, the trace with its sums."""
        return asdict(self) | {"trace": self.trace.as_dict()}
