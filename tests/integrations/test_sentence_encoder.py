"""The sentence-transformers shape: beside SentenceTransformer itself, and under its evaluator."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from greek import Collection
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from sentence_transformers.util import cos_sim, pairwise_cos_sim

from pointsman.backbone.encoder import Backbone
from pointsman.errors import BackboneMismatchError, ConfigError, InputError, PointsmanError
from pointsman.integrations.sentence_encoder import SentenceEncoder
from pointsman.route.plain import BaseRouter
from pointsman.types import FloatArray
from spaces import make_space, open_space, write_notes
from tiny import WIDTH, write_sentence_transformer, write_tiny

PROMPTS = {"query": "what is ", "document": "the answer ", "pairs": "here comes "}


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "prompted"
    return write_sentence_transformer(folder, {"pooling_mode": "mean"}, prompts=PROMPTS)


@pytest.fixture(scope="module")
def rival(prompted: Path) -> SentenceTransformer:
    return SentenceTransformer(str(prompted), device="cpu")


@pytest.fixture(scope="module")
def unrouted(prompted: Path) -> SentenceEncoder:
    return SentenceEncoder(Backbone.load(prompted, device="cpu", dtype="fp32"), BaseRouter())


# --- what is routed and what is not


def test_queries_are_the_routers_mixture(
    encoder: SentenceEncoder, collection: Collection, queries_by_hand: FloatArray
) -> None:
    texts = list(collection.queries.values())
    vectors = encoder.encode_query(texts)
    assert isinstance(vectors, np.ndarray)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, queries_by_hand, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(texts, prompt_name="query"), vectors)
    base = encoder.backbone.encode(texts, prompt="query")
    assert (np.abs(vectors - base).max(axis=1) > 1e-3).all()


def test_more_queries_than_are_routed_together(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"what follows {'alpha ' * n}?" for n in range(1, 11)]
    whole = encoder.encode_query(texts)
    monkeypatch.setattr("pointsman.integrations.sentence_encoder._TOGETHER", 4)
    np.testing.assert_allclose(encoder.encode_query(texts), whole, atol=1e-6)


def test_documents_and_plain_texts_go_through_the_base(
    encoder: SentenceEncoder, collection: Collection
) -> None:
    texts = [*collection.texts().values(), *collection.queries.values()]
    base = encoder.backbone.encode(texts, prompt="document")
    np.testing.assert_array_equal(encoder.encode_document(texts), base)
    np.testing.assert_array_equal(encoder.encode(texts), base)


# --- beside the rival


def test_the_same_vectors_as_sentence_transformers(
    unrouted: SentenceEncoder, rival: SentenceTransformer, collection: Collection
) -> None:
    texts = list(collection.texts().values())
    for ours, theirs in [
        (unrouted.encode_query(texts), rival.encode_query(texts, normalize_embeddings=True)),
        (unrouted.encode_document(texts), rival.encode_document(texts, normalize_embeddings=True)),
        (
            unrouted.encode(texts, prompt_name="pairs"),
            rival.encode(texts, prompt_name="pairs", normalize_embeddings=True),
        ),
        (
            unrouted.encode_document(texts, prompt_name="pairs"),
            rival.encode_document(texts, prompt_name="pairs", normalize_embeddings=True),
        ),
    ]:
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("sentences", ["alpha", ["alpha"], ("alpha", "beta"), np.array(["mu"])])
@pytest.mark.parametrize(
    "options",
    [{}, {"convert_to_tensor": True}, {"convert_to_numpy": False}, {"batch_size": 1}],
    ids=str,
)
@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_the_same_kinds_of_results(
    unrouted: SentenceEncoder,
    rival: SentenceTransformer,
    method: str,
    options: dict[str, Any],
    sentences: Any,
) -> None:
    ours = getattr(unrouted, method)(sentences, **options)
    theirs = getattr(rival, method)(sentences, **options)
    assert type(ours) is type(theirs)
    if isinstance(theirs, list):
        assert [each.shape for each in ours] == [each.shape for each in theirs]
        assert all(isinstance(each, torch.Tensor) for each in ours)
    else:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype


def test_nothing_to_encode(encoder: SentenceEncoder) -> None:
    for method in (encoder.encode, encoder.encode_query, encoder.encode_document):
        assert np.shape(method([])) == (0, WIDTH)


def test_the_same_facts(unrouted: SentenceEncoder, rival: SentenceTransformer) -> None:
    for name in ("max_seq_length", "similarity_fn_name", "device", "prompts"):
        assert getattr(unrouted, name) == getattr(rival, name), name
    assert unrouted.get_embedding_dimension() == rival.get_embedding_dimension() == WIDTH
    assert unrouted.get_sentence_embedding_dimension() == WIDTH
    assert unrouted.get_max_seq_length() == rival.max_seq_length


def test_the_same_arguments_in_the_same_places() -> None:
    """What one may give by place there, one may give by place here; the first was renamed there."""
    ours = list(inspect.signature(SentenceEncoder.encode).parameters)
    theirs = list(inspect.signature(SentenceTransformer.encode).parameters)
    assert ours[2:] == [name for name in theirs[2:] if name != "kwargs"]


def test_similarity_is_the_rivals() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(4, 6)).astype(np.float32)
    b = generator.normal(size=(4, 6)).astype(np.float32)
    forms = [
        (a, b),
        (torch.from_numpy(a), b),
        (list(torch.from_numpy(a)), list(b)),
        (a[0], b),
        (a, b[0].tolist()),
        (a.astype(np.float64), b.astype(np.float64)),
    ]
    similarity = SentenceEncoder.similarity
    for x, y in forms:
        torch.testing.assert_close(
            similarity(None, x, y),  # type: ignore[arg-type]
            cos_sim(x, y).float(),
            atol=1e-6,
            rtol=0,
        )
    for x, y in forms[:3]:
        torch.testing.assert_close(
            SentenceEncoder.similarity_pairwise(None, x, y),  # type: ignore[arg-type]
            pairwise_cos_sim(x, y).float(),
            atol=1e-6,
            rtol=0,
        )


# --- under its evaluators


def test_its_retrieval_evaluator_measures_what_we_measure(
    encoder: SentenceEncoder, collection: Collection, queries_by_hand: FloatArray, tmp_path: Path
) -> None:
    evaluator = InformationRetrievalEvaluator(
        queries=collection.queries,
        corpus=collection.texts(),
        relevant_docs={query: set(grades) for query, grades in collection.qrels.items()},
        name="greek",
    )
    metrics = evaluator(encoder, output_path=str(tmp_path))
    documents = encoder.backbone.encode(list(collection.texts().values()), prompt="document")
    expected = collection.ndcg(queries_by_hand, documents)
    assert metrics["greek_cosine_ndcg@10"] == pytest.approx(expected, abs=1e-6)
    base = encoder.backbone.encode(list(collection.queries.values()), prompt="query")
    assert abs(collection.ndcg(base, documents) - expected) > 1e-3  # routing can be seen in it
    assert encoder.model_card_data.metrics == metrics


def test_its_similarity_evaluator_runs(encoder: SentenceEncoder) -> None:
    words = ["alpha", "beta", "gamma delta", "the colour of mu"]
    evaluator = EmbeddingSimilarityEvaluator(words, words[::-1], scores=[0.1, 0.2, 0.3, 0.4])
    assert evaluator(encoder).keys() == {"pearson_cosine", "spearman_cosine"}


# --- from a workspace


def test_a_workspaces_encoder_scores_as_its_search_does(
    tmp_path: Path, backbone: Backbone, tiny_folder: Path
) -> None:
    make_space(tmp_path / "space", backbone, tiny_folder).close()
    with open_space(tmp_path / "space", backbone, search__mode="dense") as space:
        space.index([write_notes(tmp_path / "notes")])
        hits = space.search("what is the colour of alpha?", k=3)
        encoder = SentenceEncoder.from_workspace(space)
        # Dense search fits queries to the collection, and so does the encoder.
        assert encoder.query_fit is not None
        query = encoder.encode_query("what is the colour of alpha?")
        documents = encoder.encode_document([hit.passage.content for hit in hits])
    assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-5)
    expected = [hit.score for hit in hits]
    assert encoder.similarity(query, documents)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_workspaces_encoder_needs_no_reader(
    tmp_path: Path, backbone: Backbone, tiny_folder: Path
) -> None:
    make_space(tmp_path / "space", backbone, tiny_folder).close()
    with open_space(tmp_path / "space", backbone, read__reader="gone") as space:
        encoder = SentenceEncoder.from_workspace(space)
        assert encoder.router is space.router


def test_a_workspace_whose_index_another_encoder_made(
    tmp_path: Path, backbone: Backbone, tiny_folder: Path
) -> None:
    with make_space(tmp_path / "space", backbone, tiny_folder) as space:
        space.index([write_notes(tmp_path / "notes")])
    other = Backbone.load(write_tiny(tmp_path / "other", seed=1), device="cpu", dtype="fp32")
    with (
        open_space(tmp_path / "space", other) as changed,
        pytest.raises(BackboneMismatchError, match=r"tiny \(weights .*other \(weights "),
    ):
        SentenceEncoder.from_workspace(changed)


# --- what it refuses


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("encode", {"prompt": "query: "}, "give prompt_name"),
        ("encode_query", {"prompt": "query: "}, "give prompt_name"),
        ("encode", {"output_value": "token_embeddings"}, "Backbone.tokens"),
        ("encode", {"output_value": None}, "output_value=None is not supported"),
        ("encode", {"precision": "int8"}, "precision='int8' is not supported"),
        ("encode_document", {"truncate_dim": 8}, "truncate_dim=8"),
        ("encode", {"pool": {"input": 1}}, "load a backbone in each process"),
        ("encode", {"chunk_size": 10}, "load a backbone in each process"),
        ("encode", {"batch_size": 0}, "batch_size is at least 1"),
        ("encode", {"device": "cuda"}, "the backbone is on cpu, not on cuda"),
        ("encode", {"device": "cuda:1"}, "load it with device='cuda:1'"),
        ("encode", {"device": ["cpu", "cpu"]}, "is no single device"),
        ("encode", {"device": "abacus"}, "device 'abacus' is no single device"),
        ("encode", {"prompt_name": "passage"}, r"no prompt 'passage' \(it has: query, document\)"),
        ("encode_query", {"prompt_name": "document"}, "queries are encoded with the prompt"),
        ("encode_document", {"prompt_name": "query"}, "documents are not routed"),
    ],
)
def test_what_it_cannot_do_it_refuses(
    encoder: SentenceEncoder, method: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        getattr(encoder, method)(["alpha"], **options)


def test_one_meaning_under_several_names(encoder: SentenceEncoder) -> None:
    plain = encoder.encode(["alpha"])
    for options in ({"device": "cpu"}, {"precision": None}, {"normalize_embeddings": True}):
        np.testing.assert_array_equal(encoder.encode(["alpha"], **options), plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 3, {"text": "alpha"}, ["alpha", "beta"]])
def test_only_text_is_encoded(encoder: SentenceEncoder, wrong: object) -> None:
    with pytest.raises(InputError, match="sentence 1 is a"):
        encoder.encode(["alpha", wrong])  # type: ignore[list-item]


def test_a_router_of_other_experts_is_told(backbone: Backbone) -> None:
    class Elsewhere(BaseRouter):
        def route(self, queries: Any) -> Any:
            routing = super().route(queries)
            weights = np.hstack([0 * routing.weights, routing.weights])
            return type(routing)(("base", "elsewhere"), weights, weights)

    with pytest.raises(PointsmanError, match="elsewhere"):
        SentenceEncoder(backbone, Elsewhere()).encode_query("alpha")


# --- manners


@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_a_bar_only_when_asked_for(
    encoder: SentenceEncoder, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    silent = getattr(encoder, method)(["alpha"])
    getattr(encoder, method)(["alpha"], show_progress_bar=False)
    assert capfd.readouterr() == ("", "")
    shown = getattr(encoder, method)(["alpha"], show_progress_bar=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Encoding" in err
    assert "100%" in err
    np.testing.assert_array_equal(shown, silent)


def test_no_other_library_is_imported() -> None:
    program = (
        "import sys, pointsman.integrations.sentence_encoder, pointsman.integrations.mteb, "
        "pointsman.integrations.beir; "
        "print({'sentence_transformers', 'mteb', 'beir', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
