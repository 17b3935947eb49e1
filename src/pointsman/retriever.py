"""The first two stages: experts embed a question as the router weighs them, and the index is searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pointsman.backbone.queries import EncodedQueries, routed_vectors
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, EmptyCollectionError, QuestionError
from pointsman.protocols import Encoder, Index, Queries, QueryFit, Router
from pointsman.text import scrub
from pointsman.types import Hit, Routing, Where
from pointsman.types import Mode as Mode

MODES: tuple[Mode, ...] = ("hybrid", "dense", "bm25")

# An encoder sees a few hundred tokens; what is longer than this is not a question.
MAX_QUESTION = 10_000


@dataclass(frozen=True, slots=True)
class Retriever:
    """Finds passages in an index; nothing of it reads them. Raises ConfigError for an unknown mode."""

    encoder: Encoder
    index: Index
    router: Router
    query_fit: QueryFit | None = None
    mode: Mode = "hybrid"

    def __post_init__(self) -> None:
        check_mode(self.mode)

    def retrieve(
        self,
        questions: Sequence[str],
        k: int,
        *,
        where: Where | None = None,
        deadline: Deadline | None = None,
    ) -> list[list[Hit]]:
        """The best k passages for each question, best first: route, then search.

        `where` restricts which passages are looked at. Raises QuestionError for a question without
        text or of more than 10,000 characters, EmptyCollectionError where nothing is indexed,
        DeadlineError.
        """
        checked = [check_question(question) for question in questions]
        self.check_filled()
        queries, routing = self.route(checked, deadline)
        return self.search(queries, routing, k, where, deadline)

    def check_filled(self) -> None:
        """Raise EmptyCollectionError where nothing is indexed."""
        if len(self.index) == 0:
            raise EmptyCollectionError("the index is empty: index some documents first")

    def route(
        self, questions: Sequence[str], deadline: Deadline | None = None
    ) -> tuple[EncodedQueries, Routing]:
        """The questions, encoded no further than the router needs, and their experts' weights."""
        queries = EncodedQueries(questions, self.encoder, deadline)
        return queries, self.router.route(queries)

    def search(
        self,
        queries: Queries,
        routing: Routing,
        k: int,
        where: Where | None = None,
        deadline: Deadline | None = None,
    ) -> list[list[Hit]]:
        """The best k passages for each routed query, best first."""
        vectors = (
            None
            if self.mode == "bm25"
            else routed_vectors(self.encoder, queries, routing, deadline)
        )
        if vectors is not None and self.query_fit is not None:
            vectors = self.query_fit.fit(vectors)
        text = None if self.mode == "dense" else queries.texts
        if self.mode != "hybrid" or routing.dense_shift is None:
            return self.index.search(vectors, k, text, where, deadline)
        return self.index.search(vectors, k, text, where, deadline, routing.dense_shift)


def check_mode(mode: str) -> None:
    """Raise ConfigError for a way to search that there is not."""
    if mode not in MODES:
        raise ConfigError(f"search mode {mode!r} is unknown ({', '.join(MODES)})")


def check_question(question: str) -> str:
    """The question without outer space, safe to tokenise. Raises QuestionError."""
    if len(question) > MAX_QUESTION:
        raise QuestionError(
            f"the question has {len(question):,} characters, {MAX_QUESTION:,} are the most; "
            "ask about a part of it, or index it as a document"
        )
    safe = scrub(question).strip()
    if not safe.strip("\ufffd \t\r\n"):
        raise QuestionError("the question is empty: ask something")
    return safe
