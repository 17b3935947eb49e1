"""BEIR's dense model: what `DenseRetrievalExactSearch` and its kin call.

BEIR itself is not needed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.errors import InputError
from pointsman.integrations.documents import document_text
from pointsman.integrations.sentence_encoder import Embeddings, SentenceEncoder

Corpus = Sequence[str] | Sequence[Mapping[str, str]] | Mapping[str, Sequence[str]]
"""Texts, documents ("title", "text"), or the columns of a table of documents."""


class BEIRModel:
    """A routed encoder under the two names that BEIR asks for."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.encoder = encoder

    def encode_queries(
        self, queries: Sequence[str], batch_size: int = 16, **options: Any
    ) -> Embeddings:
        """Routed unit vectors [n, d] of n queries; `options` as for `SentenceEncoder.encode`."""
        return self.encoder.encode_query(queries, batch_size=batch_size, **options)

    def encode_corpus(self, corpus: Corpus, batch_size: int = 8, **options: Any) -> Embeddings:
        """The base's unit vectors [n, d] of n documents, each its title and its text as one.

        Raises InputError for a document without text.
        """
        return self.encoder.encode_document(_texts(corpus), batch_size=batch_size, **options)


def _texts(corpus: Corpus) -> list[str]:
    if isinstance(corpus, Mapping):
        return [document_text(document) for document in _rows(corpus)]
    return [each if isinstance(each, str) else document_text(each) for each in corpus]


def _rows(columns: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the corpus has columns of different lengths: {lengths}")
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
