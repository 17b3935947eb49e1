"""BEIR's shape: its three kinds of corpus by hand, and BEIR's own search and evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from greek import Collection

from pointsman.errors import InputError
from pointsman.integrations.beir import BEIRModel
from pointsman.integrations.sentence_encoder import SentenceEncoder
from pointsman.types import FloatArray


@pytest.fixture
def model(encoder: SentenceEncoder) -> BEIRModel:
    return BEIRModel(encoder)


def test_queries_are_routed(
    model: BEIRModel, collection: Collection, queries_by_hand: FloatArray
) -> None:
    texts = list(collection.queries.values())
    vectors = model.encode_queries(texts, batch_size=4, show_progress_bar=False)
    np.testing.assert_allclose(vectors, queries_by_hand, atol=1e-5)


def test_every_kind_of_corpus_is_the_same_corpus(model: BEIRModel, collection: Collection) -> None:
    documents = list(collection.corpus.values())
    texts = list(collection.texts().values())
    columns = {key: [document[key] for document in documents] for key in ("title", "text")}
    expected = model.encoder.backbone.encode(texts, prompt="document")
    for corpus in (documents, texts, columns):
        np.testing.assert_array_equal(model.encode_corpus(corpus, batch_size=4), expected)
    untitled = [{"text": text} for text in texts]
    np.testing.assert_array_equal(model.encode_corpus(untitled), expected)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ([{"_id": "d7", "title": "alpha"}], "document 'd7' has no text"),
        ([{"text": "alpha", "title": 3}], "has no text"),
        ({"title": ["a", "b"], "text": ["c"]}, r"different lengths: .*'title': 2"),
    ],
)
def test_a_broken_corpus(model: BEIRModel, corpus: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.encode_corpus(corpus)


def test_beir_measures_what_we_measure(
    model: BEIRModel, collection: Collection, queries_by_hand: FloatArray
) -> None:
    pytest.importorskip("beir")
    from beir.retrieval.evaluation import EvaluateRetrieval
    from beir.retrieval.search.dense import DenseRetrievalExactSearch

    # Several chunks of the corpus, so that their results must be merged.
    search = DenseRetrievalExactSearch(model, batch_size=8, corpus_chunk_size=7)
    retriever = EvaluateRetrieval(search, k_values=[1, 10], score_function="cos_sim")
    results = retriever.retrieve(collection.corpus, collection.queries)
    ndcg, *_ = retriever.evaluate(collection.qrels, results, retriever.k_values)
    documents = model.encoder.backbone.encode(list(collection.texts().values()), prompt="document")
    expected = collection.ndcg(queries_by_hand, documents)
    assert ndcg["NDCG@10"] == pytest.approx(expected, abs=2e-5)  # BEIR keeps five digits
