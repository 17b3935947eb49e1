"""The protocols that more than one room speaks. n counts questions, d is the embedding's width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pointsman.deadline import Deadline
from pointsman.trace import Cost
from pointsman.types import (
    Allocation,
    Answer,
    BackboneIdentity,
    FloatArray,
    Graded,
    Hit,
    Passage,
    Reading,
    Routing,
    Selection,
    Where,
)


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into unit vectors [n, d] float32; `adapter` is one expert for all or one a text."""

    @property
    def identity(self) -> BackboneIdentity: ...

    def encode(
        self,
        texts: Sequence[str],
        adapter: str | Sequence[str | None] | None = None,
        *,
        prompt: str | None = None,
        deadline: Deadline | None = None,
    ) -> FloatArray: ...


@runtime_checkable
class Queries(Protocol):
    """A batch of questions on its way to the router; what is looked at is computed when asked for."""

    @property
    def texts(self) -> Sequence[str]: ...

    @property
    def vectors(self) -> FloatArray:
        """Vectors of the frozen base [n, d]."""
        ...

    @property
    def features(self) -> FloatArray:
        """What the encoder's lower layers tell of each text [n, width], before any expert is chosen."""
        ...


@runtime_checkable
class Router(Protocol):
    """Decides which expert encoder embeds each query. The base is always the first expert."""

    def route(self, queries: Queries) -> Routing: ...


@runtime_checkable
class QueryFit(Protocol):
    """Fits query vectors [n, d] to the collection that they will search, without any label."""

    def fit(self, queries: FloatArray) -> FloatArray: ...


@runtime_checkable
class Index(Protocol):
    """Stores passages and their vectors, and finds them again."""

    @property
    def identity(self) -> BackboneIdentity: ...

    def __len__(self) -> int: ...

    def add(self, passages: Sequence[Passage], vectors: FloatArray) -> None:
        """Store new passages; an id that is already there is an InputError and nothing is stored."""
        ...

    def upsert(self, passages: Sequence[Passage], vectors: FloatArray) -> None:
        """Store passages, replacing those of the same id."""
        ...

    def delete(self, ids: Iterable[str]) -> int:
        """Remove passages by id; returns how many were there."""
        ...

    def search(
        self,
        vectors: FloatArray | None,
        k: int,
        text: Sequence[str] | None = None,
        where: Where | None = None,
        deadline: Deadline | None = None,
        dense_shift: FloatArray | None = None,
    ) -> list[list[Hit]]:
        """Best first, at most k a query. Vectors alone: exact dense; text alone: BM25; both: hybrid.

        In a hybrid search vectors count `dense_shift` [n] more than usual.
        """
        ...


@runtime_checkable
class Grader(Protocol):
    """Says how relevant each passage of each question is; a single grade says nothing."""

    @property
    def grades(self) -> tuple[str, ...]:
        """The names of the grades, lowest first."""
        ...

    def grade(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Graded]:
        """One for each question, in order."""
        ...


@runtime_checkable
class Selector(Protocol):
    """Chooses which passages the reader sees, and in which order."""

    def select(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        relevance: Sequence[FloatArray],
        deadline: Deadline | None = None,
    ) -> list[Selection]:
        """One for each question, in order; `passages` come best first, with their `relevance` [n] each."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Finds answers as spans of passages; scores are comparable across the passages of a question."""

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        n_best: int = 1,
        deadline: Deadline | None = None,
    ) -> list[Reading]: ...


@runtime_checkable
class Likelihood(Protocol):
    """log p(answers | question, passages): how well a reader explains known answers."""

    def log_likelihood(
        self, question: str, passages: Sequence[Passage], answers: Sequence[str]
    ) -> float: ...


@runtime_checkable
class Agent(Protocol):
    """Answers questions from the passages it is shown, at a cost."""

    @property
    def name(self) -> str: ...

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]: ...

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]: ...


@runtime_checkable
class Allocator(Protocol):
    """Decides which agent answers each question. `price` is in correct answers per unit of cost."""

    def allocate(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        price: float,
        seen: Sequence[Mapping[int, Answer]] | None = None,
        deadline: Deadline | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Allocation:
        """Whom to ask, by number. `seen` holds what the agents asked so far said of each question, failures
        too: an agent that is chosen again gives that answer, -1 gives none. `allowed` [n, agents] is who may
        be asked from now on, by default everyone; where that is nobody, an answer that was seen is chosen.
        Raises DeadlineError.
        """
        ...
