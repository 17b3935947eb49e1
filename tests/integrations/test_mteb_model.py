"""MTEB's shape: its two protocols by hand, and MTEB itself on tasks that are written here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from greek import Collection

from pointsman.errors import (
    ConfigError,
    EmptyCollectionError,
    InputError,
    MissingDependencyError,
)
from pointsman.integrations.mteb import MTEBModel
from pointsman.integrations.sentence_encoder import SentenceEncoder
from pointsman.types import FloatArray

TASK: dict[str, Any] = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}
INDEX: dict[str, Any] = {**TASK, "encode_kwargs": {"batch_size": 32, "show_progress_bar": False}}
SEARCH: dict[str, Any] = {**INDEX, "top_k": 10}


@pytest.fixture
def model(encoder: SentenceEncoder) -> MTEBModel:
    return MTEBModel(encoder, revision="test")


@pytest.fixture
def cosines(
    encoder: SentenceEncoder, collection: Collection, queries_by_hand: FloatArray
) -> FloatArray:
    documents = encoder.backbone.encode(list(collection.texts().values()), prompt="document")
    return queries_by_hand @ documents.T


# --- the protocols by hand


def test_search_finds_the_nearest_documents(
    model: MTEBModel, collection: Collection, cosines: FloatArray
) -> None:
    model.index(collection.rows(), **INDEX)
    found = model.search(collection.query_rows(), **SEARCH)
    assert list(found) == list(collection.queries)
    ids = np.array(list(collection.corpus))
    for scores, row in zip(found.values(), cosines, strict=True):
        order = np.argsort(-row)[:10]
        assert list(scores) == ids[order].tolist()
        assert list(scores.values()) == pytest.approx(row[order].tolist(), abs=1e-5)


def test_reranking_stays_among_the_ranked(
    model: MTEBModel, collection: Collection, cosines: FloatArray
) -> None:
    model.index(collection.rows(), **INDEX)
    ranked = {"q0": ["c3", "o0", "c1", "o5"], "q1": ["o2"], "q2": []}
    found = model.search(collection.query_rows(), **{**SEARCH, "top_k": 3}, top_ranked=ranked)
    of_q0 = dict(zip(collection.corpus, cosines[0].tolist(), strict=True))
    best = sorted(ranked["q0"], key=lambda id: -of_q0[id])[:3]
    assert list(found["q0"]) == best
    assert list(found["q0"].values()) == pytest.approx([of_q0[id] for id in best], abs=1e-5)
    assert list(found["q1"]) == ["o2"]
    assert found["q2"] == found["r1"] == {}


def test_an_instruction_belongs_to_the_query(model: MTEBModel, collection: Collection) -> None:
    model.index(collection.rows(), **INDEX)
    whole = model.search([{"id": "q", "text": "what follows alpha? red"}], **SEARCH)
    parts = {"id": "q", "text": "what follows alpha?", "instruction": "red"}
    assert model.search([parts], **SEARCH) == whole
    bare = model.search([{**parts, "instruction": None}], **SEARCH)
    assert bare == model.search([{"id": "q", "text": "what follows alpha?"}], **SEARCH)
    assert bare != whole


def test_a_new_corpus_takes_the_place_of_the_last(model: MTEBModel, collection: Collection) -> None:
    model.index(collection.rows(), **INDEX)
    model.index([{"id": "only", "text": "alpha", "title": None}], **INDEX)
    assert list(model.search([{"id": "q", "text": "beta"}], **SEARCH)["q"]) == ["only"]


def test_encode_routes_queries_alone(
    model: MTEBModel, collection: Collection, queries_by_hand: FloatArray
) -> None:
    texts = list(collection.queries.values())
    batches = [{"text": texts[:5]}, {"text": texts[5:]}]
    base = model.encoder.backbone.encode(texts, prompt="document")
    routed = model.encode(batches, **TASK, prompt_type="query", batch_size=5)
    np.testing.assert_allclose(routed, queries_by_hand, atol=1e-5)
    for prompt_type in ("document", None):
        np.testing.assert_array_equal(model.encode(batches, **TASK, prompt_type=prompt_type), base)
    assert model.similarity(routed, base).shape == (len(texts), len(texts))
    assert model.similarity_pairwise(routed, base).shape == (len(texts),)


# --- what it refuses


def test_searching_before_indexing(model: MTEBModel) -> None:
    with pytest.raises(EmptyCollectionError, match="call index before search"):
        model.search([{"id": "q", "text": "alpha"}], **SEARCH)


@pytest.mark.parametrize("text", [None, 3, ["a", "b"]])
def test_a_document_without_text_leaves_the_last_corpus(
    model: MTEBModel, collection: Collection, text: object
) -> None:
    model.index(collection.rows(), **INDEX)
    before = model.search(collection.query_rows(), **SEARCH)
    with pytest.raises(InputError, match="document 'bad' has no text"):
        model.index([{"id": "good", "text": "alpha"}, {"id": "bad", "text": text}], **INDEX)
    assert model.search(collection.query_rows(), **SEARCH) == before


def test_bad_queries_and_rankings(model: MTEBModel, collection: Collection) -> None:
    model.index(collection.rows(), **INDEX)
    with pytest.raises(InputError, match="query 'q' is not plain text"):
        model.search([{"id": "q", "text": ["what", "follows"]}], **SEARCH)
    with pytest.raises(InputError, match="query 'q0' is to rank document 'nowhere'"):
        model.search(collection.query_rows(), **SEARCH, top_ranked={"q0": ["o1", "nowhere"]})


def test_what_the_encoder_refuses_it_refuses(model: MTEBModel, collection: Collection) -> None:
    with pytest.raises(ConfigError, match="precision='int8'"):
        model.index(collection.rows(), **{**INDEX, "encode_kwargs": {"precision": "int8"}})


@pytest.mark.parametrize("name", ["flat", "a/b/c", "/b", "a/", ""])
def test_a_name_that_cannot_be_filed(encoder: SentenceEncoder, name: str) -> None:
    with pytest.raises(ConfigError, match="organisation/model"):
        MTEBModel(encoder, revision="1", name=name)


@pytest.mark.parametrize("revision", ["", "a/b"])
def test_a_revision_that_cannot_be_filed(encoder: SentenceEncoder, revision: str) -> None:
    with pytest.raises(ConfigError, match="a revision is"):
        MTEBModel(encoder, revision=revision)


@pytest.mark.skipif(importlib.util.find_spec("mteb") is not None, reason="mteb is installed")
def test_without_mteb_it_says_how_to_get_it(model: MTEBModel) -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'pointsman\[mteb\]'"):
        model.mteb_model_meta  # noqa: B018


# --- MTEB itself


def described(name: str, kind: str, main_score: str) -> Any:
    """The metadata that MTEB wants of a task, of one that lies in memory alone."""
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=name,
        description="Greek letters, their order and their colours.",
        reference=None,
        dataset={"path": "in/memory", "revision": "1"},
        type=kind,
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=main_score,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )


def test_mteb_measures_what_we_measure(
    encoder: SentenceEncoder, collection: Collection, queries_by_hand: FloatArray, tmp_path: Path
) -> None:
    mteb = pytest.importorskip("mteb")
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.models import EncoderProtocol, SearchProtocol

    class Greek(AbsTaskRetrieval):
        metadata = described("Greek", "Retrieval", "ndcg_at_10")

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            self.corpus = {"test": collection.corpus}
            self.queries = {"test": collection.queries}
            self.relevant_docs = {"test": collection.qrels}
            self.data_loaded = True

    model = MTEBModel(encoder, revision="greek-1", training_datasets={"SciFact"})
    assert isinstance(model, SearchProtocol)
    assert isinstance(model, EncoderProtocol)
    cache = mteb.ResultCache(cache_path=tmp_path)
    result = mteb.evaluate(model, Greek(), cache=cache, co2_tracker=False, show_progress_bar=False)
    [task] = result.task_results
    documents = encoder.backbone.encode(list(collection.texts().values()), prompt="document")
    expected = collection.ndcg(queries_by_hand, documents)
    assert task.get_score() == pytest.approx(expected, abs=2e-5)  # MTEB keeps five digits
    assert (result.model_name, result.model_revision) == (model.name, "greek-1")
    assert model.mteb_model_meta.training_datasets == {"SciFact"}
    assert model.mteb_model_meta.embed_dim == documents.shape[1]
    assert model.mteb_model_meta.to_dict()["name"] == "pointsman/tiny"


def test_mteb_does_not_route_where_both_sides_are_alike(
    encoder: SentenceEncoder, collection: Collection
) -> None:
    mteb = pytest.importorskip("mteb")
    from datasets import Dataset
    from mteb.abstasks import AbsTaskSTS
    from scipy.stats import spearmanr

    texts = [*collection.queries.values()]
    generator = np.random.default_rng(0)
    scores = generator.uniform(0, 5, len(texts) - 1).tolist()

    class Alike(AbsTaskSTS):
        metadata = described("Alike", "STS", "cosine_spearman")
        min_score, max_score = 0, 5

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            pairs = {"sentence1": texts[:-1], "sentence2": texts[1:], "score": scores}
            self.dataset = {"test": Dataset.from_dict(pairs)}
            self.data_loaded = True

    result = mteb.evaluate(
        MTEBModel(encoder, revision="greek-1"),
        Alike(),
        cache=None,
        co2_tracker=False,
        show_progress_bar=False,
    )
    base = encoder.backbone.encode(texts, prompt="document")
    expected = spearmanr((base[:-1] * base[1:]).sum(axis=1), scores).statistic
    assert result.task_results[0].get_score() == pytest.approx(expected, abs=1e-4)
