"""MTEB's model: it searches by itself (`SearchProtocol`) and encodes (`EncoderProtocol`).

For retrieval MTEB hands over corpus and queries as rows ("id", "text", and perhaps "title" or
"instruction"); for its other tasks it asks for vectors of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from pointsman.errors import (
    ConfigError,
    EmptyCollectionError,
    InputError,
    MissingDependencyError,
)
from pointsman.integrations.documents import document_text
from pointsman.integrations.sentence_encoder import DOCUMENT, QUERY, Embeddings, SentenceEncoder
from pointsman.retrieve.dense import top_k as nearest
from pointsman.types import FloatArray

Row = Mapping[str, Any]


class MTEBModel:
    """A routed encoder with exact search, as `mteb.evaluate` takes it.

    MTEB files results under `name` ("organisation/model") and `revision`, and shows what it has
    filed instead of running a task again: let the revision say which base, experts and router these
    are. `training_datasets` names, as MTEB does, what the experts were trained on, so that no score
    on them passes for one on unseen data; None says that it is unknown.

    Raises ConfigError for a name or a revision that MTEB could not file.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        *,
        revision: str,
        name: str | None = None,
        training_datasets: Collection[str] | None = None,
    ) -> None:
        if name is None:
            name = f"pointsman/{encoder.backbone.identity.name.rsplit('/', 1)[-1]}"
        if name.count("/") != 1 or not all(name.split("/")):
            raise ConfigError(f"MTEB names a model organisation/model, not {name!r}")
        if not revision or "/" in revision:
            raise ConfigError(f"a revision is a name without a slash, not {revision!r}")
        self.encoder = encoder
        self.name = name
        self.revision = revision
        self.training_datasets = training_datasets
        self._ids: tuple[str, ...] = ()
        self._vectors: FloatArray = np.empty((0, encoder.get_embedding_dimension()), np.float32)

    # ---- SearchProtocol

    def index(
        self,
        corpus: Iterable[Row],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
    ) -> None:
        """Encode a corpus by the base and keep its vectors in place of the last one's.

        Raises InputError for a document without text, and then the last corpus stays.
        """
        rows = list(corpus)
        texts = [document_text(row) for row in rows]
        self._vectors = _array(self.encoder.encode_document, texts, encode_kwargs)
        self._ids = tuple(str(row["id"]) for row in rows)

    def search(
        self,
        queries: Iterable[Row],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
    ) -> dict[str, dict[str, float]]:
        """Each query's `top_k` best documents and their cosines, by exact search.

        With `top_ranked` only among those of each query; one that it does not name finds nothing.
        Raises EmptyCollectionError before `index`, InputError for a query that is not plain text
        and for a ranked document that the corpus does not hold.
        """
        if not self._ids:
            raise EmptyCollectionError("no corpus is indexed: call index before search")
        rows = list(queries)
        ids = [str(row["id"]) for row in rows]
        vectors = _array(
            self.encoder.encode_query, [_query_text(row) for row in rows], encode_kwargs
        )
        if top_ranked is not None:
            places = {id: place for place, id in enumerate(self._ids)}
            return {
                id: self._rerank(id, vector, top_ranked.get(id, ()), places, top_k)
                for id, vector in zip(ids, vectors, strict=True)
            }
        found = nearest(vectors, self._vectors, top_k)
        return {
            id: {self._ids[i]: float(score) for i, score in zip(documents, scores, strict=True)}
            for id, (documents, scores) in zip(ids, found, strict=True)
        }

    def _rerank(
        self,
        query: str,
        vector: FloatArray,
        ranked: Sequence[str],
        places: Mapping[str, int],
        k: int,
    ) -> dict[str, float]:
        unknown = [id for id in ranked if id not in places]
        if unknown:
            raise InputError(
                f"query {query!r} is to rank document {unknown[0]!r}, which the corpus does not hold"
            )
        [(best, scores)] = nearest(vector[None], self._vectors[[places[id] for id in ranked]], k)
        return {ranked[i]: float(score) for i, score in zip(best, scores, strict=True)}

    # ---- EncoderProtocol

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: str | None = None,
        **encode_kwargs: Any,
    ) -> Embeddings:
        """Vectors [n, d] of all texts of all batches: routed where `prompt_type` says query.

        Where it says nothing both sides of the task are alike, and the base encodes them.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        prompt_name = QUERY if prompt_type == QUERY else DOCUMENT
        return self.encoder.encode(texts, prompt_name, **encode_kwargs)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [n, m] of all pairs."""
        return self.encoder.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [n] of the pairs (embeddings1[i], embeddings2[i])."""
        return self.encoder.similarity_pairwise(embeddings1, embeddings2)

    # ---- both

    @cached_property
    def mteb_model_meta(self) -> Any:
        """What MTEB files results under (`mteb.models.ModelMeta`). Raises MissingDependencyError."""
        try:
            from mteb.models.model_meta import ModelMeta, ScoringFunction
        except ImportError as error:
            raise MissingDependencyError(
                "MTEB 2 is not installed; get it with: pip install 'pointsman[mteb]'"
            ) from error
        backbone = self.encoder.backbone
        return ModelMeta(
            loader=None,
            name=self.name,
            revision=self.revision,
            release_date=None,
            languages=None,
            n_parameters=sum(weights.numel() for weights in backbone.model.parameters()),
            memory_usage_mb=None,
            max_tokens=backbone.identity.max_length,
            embed_dim=backbone.identity.dimension,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=bool(backbone.identity.prompts),
            training_datasets=(
                None if self.training_datasets is None else set(self.training_datasets)
            ),
        )


def _query_text(row: Row) -> str:
    """A query's text, with its instruction after it where the task has one, as MTEB joins them."""
    text, instruction = row.get("text"), row.get("instruction")
    if not isinstance(text, str):
        raise InputError(f"query {row['id']!r} is not plain text, and only that can be encoded")
    return f"{text} {instruction}" if instruction else text


def _array(
    encode: Callable[..., Embeddings], texts: Sequence[str], encode_kwargs: Mapping[str, Any]
) -> FloatArray:
    vectors = encode(texts, **{**encode_kwargs, "convert_to_tensor": False})
    return np.asarray(vectors, dtype=np.float32)
