"""A retrieval collection: frozen document vectors, and queries with judgements."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from pointsman.errors import InputError
from pointsman.types import FloatArray, Qrels, Query, Run

# Similarities held at a time: 64 MiB of float32, whatever the number of queries.
_AT_ONCE = 1 << 24


@dataclass(frozen=True, slots=True)
class Judged:
    """A query and what is relevant to it: document id -> grade, every grade above 0."""

    id: str
    text: str
    relevant: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents by id, and their unit vectors [m, d] from the frozen base."""

    ids: tuple[str, ...]
    vectors: FloatArray

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.vectors):
            raise InputError(f"{len(self.ids)} documents but {len(self.vectors)} vectors")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Where each document stands."""
        return {id: row for row, id in enumerate(self.ids)}

    def search(self, queries: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """The rows [n, k] of the k most similar documents, best first, and their dot products [n, k]."""
        k = min(k, len(self))
        documents = torch.from_numpy(self.vectors)
        found = np.empty((len(queries), k), dtype=np.int64)
        products = np.empty((len(queries), k), dtype=np.float32)
        step = max(1, _AT_ONCE // max(1, len(self)))
        for start in range(0, len(queries), step):
            block = slice(start, start + step)
            best = (torch.from_numpy(queries[block]) @ documents.T).topk(k)
            found[block], products[block] = best.indices.numpy(), best.values.numpy()
        return found, products

    def nearest(self, queries: FloatArray, k: int) -> npt.NDArray[np.int64]:
        """The rows [n, k] of the k most similar documents, best first, by exact search."""
        return self.search(queries, k)[0]

    def run(self, judged: Sequence[Judged], queries: FloatArray, k: int = 10) -> Run:
        """The ranking of the k nearest documents of each query, whose vectors are `queries` [n, d]."""
        found = self.nearest(queries, k)
        return {
            query.id: {self.ids[row]: float(-rank) for rank, row in enumerate(rows)}
            for query, rows in zip(judged, found.tolist(), strict=True)
        }

    def digest(self) -> str:
        """A hash of the ids and vectors, computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(
            "\n".join(self.ids).encode() + np.ascontiguousarray(self.vectors).tobytes()
        ).hexdigest()


def judged_queries(queries: Sequence[Query], qrels: Qrels, documents: Documents) -> list[Judged]:
    """Queries with at least one relevant document, in their order.

    Raises InputError where a judgement names a document that is not there, or a query that is not.
    """
    if unknown := qrels.keys() - {query.id for query in queries}:
        raise InputError(f"{len(unknown)} judged queries are unknown, such as {min(unknown)!r}")
    judged = []
    for query in queries:
        relevant = {id: grade for id, grade in qrels.get(query.id, {}).items() if grade > 0}
        for id in relevant:
            if id not in documents.rows:
                raise InputError(
                    f"query {query.id!r} is judged with document {id!r}, which is not in the collection"
                )
        if relevant:
            judged.append(Judged(query.id, query.text, relevant))
    return judged


def qrels_of(judged: Sequence[Judged]) -> Qrels:
    """The judgements as evaluation takes them."""
    return {query.id: query.relevant for query in judged}
