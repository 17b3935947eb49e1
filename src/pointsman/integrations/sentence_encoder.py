"""An encoder of the sentence-transformers shape: queries are routed, documents go through the base.

Stands in for a `SentenceTransformer` in evaluators, vector stores and frameworks that only encode.
sentence-transformers itself is not needed. What this encoder cannot do it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.queries import EncodedQueries, routed_vectors
from pointsman.errors import ConfigError, InputError
from pointsman.protocols import QueryFit, Router
from pointsman.types import FloatArray

if TYPE_CHECKING:
    from pointsman.workspace import Workspace

QUERY, DOCUMENT = "query", "document"

Embeddings = FloatArray | Tensor | list[Tensor]

# So many queries are routed together: bounds memory, and the bar moves.
_TOGETHER = 1_024

# Arguments of `SentenceTransformer.encode` that have one meaning here, and what to do instead.
_ONLY: Mapping[str, tuple[tuple[object, ...], str]] = {
    "prompt": ((None,), "give prompt_name, the name of one of the model's own prompts"),
    "output_value": (("sentence_embedding",), "Backbone.tokens gives the states of tokens"),
    "precision": (("float32", None), "quantise the vectors afterwards"),
    "truncate_dim": ((None,), "the experts were trained at the base's full width"),
    "pool": ((None,), "load a backbone in each process"),
    "chunk_size": ((None,), "load a backbone in each process"),
}


class Evaluations:
    """What evaluators of sentence-transformers report to a model: the metrics, by their names."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def set_evaluation_metrics(
        self, evaluator: object, metrics: Mapping[str, float], epoch: int = 0, step: int = 0
    ) -> None:
        """Keep the last value of each metric."""
        self.metrics.update(metrics)


class SentenceEncoder:
    """Encodes queries by the experts that a router gives them, everything else by the base alone.

    All vectors have unit norm and lie in one space: documents that were encoded once stay valid
    whatever becomes of the experts.
    """

    similarity_fn_name = "cosine"

    def __init__(
        self, backbone: Backbone, router: Router, query_fit: QueryFit | None = None
    ) -> None:
        self.backbone = backbone
        self.router = router
        self.query_fit = query_fit
        self.model_card_data = Evaluations()

    @classmethod
    def from_workspace(cls, space: Workspace) -> SentenceEncoder:
        """The encoder, the router and the query fit with which a workspace searches its index.

        The workspace has to stay open where its queries are fitted to its documents. Raises BackboneMismatchError where the index was made by another encoder.
        """
        space.store.check_backbone(space.backbone.identity)
        return cls(space.backbone, space.router, space.query_fit)

    def encode(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | torch.device | Sequence[str | torch.device] | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: object | None = None,
        chunk_size: int | None = None,
    ) -> Embeddings:
        """Unit vectors [n, d] float32 of n texts, or one vector [d] of a single string.

        Without a prompt name a text is a document, encoded by the base: where both sides are alike
        (duplicates, clusters) routing one of them would tear them apart. `prompt_name="query"`
        routes; any other prompt of the model's own is put before the text, for the base.

        An array, or with `convert_to_tensor` a tensor on the backbone's device, or with neither a
        list of tensors [d]. Vectors are normalised whatever `normalize_embeddings` says, and the
        backbone batches by tokens, so that `batch_size` is only checked.

        Raises ConfigError for what is not supported (a free `prompt`, another `output_value`,
        `precision` or `device`, `truncate_dim`, several processes), InputError for what is no text.
        """
        _refuse_unsupported(
            prompt=prompt,
            output_value=output_value,
            precision=precision,
            truncate_dim=truncate_dim,
            pool=pool,
            chunk_size=chunk_size,
        )
        if batch_size < 1:
            raise ConfigError(f"batch_size is at least 1, not {batch_size}")
        self._check_device(device)
        name = self._check_prompt(prompt_name)
        texts = _texts([sentences] if isinstance(sentences, str) else sentences)
        with _progress_bar(len(texts), bool(show_progress_bar)) as advance:
            if name == QUERY:
                vectors = self._routed(texts, advance)
            else:
                vectors = self.backbone.encode(texts, prompt=name, progress=advance)
        rows: Embeddings = vectors
        if convert_to_tensor:
            rows = torch.from_numpy(vectors).to(self.device)
        elif not convert_to_numpy:
            rows = list(torch.from_numpy(vectors))
        return rows[0] if isinstance(sentences, str) else rows

    def encode_query(
        self, sentences: str | Sequence[str], prompt_name: str | None = None, **options: Any
    ) -> Embeddings:
        """Vectors of queries, each a mixture of what its experts give; `options` as for `encode`."""
        if prompt_name not in (None, QUERY):
            raise ConfigError(f"queries are encoded with the prompt {QUERY!r}, not {prompt_name!r}")
        return self.encode(sentences, QUERY, **options)

    def encode_document(
        self, sentences: str | Sequence[str], prompt_name: str | None = None, **options: Any
    ) -> Embeddings:
        """Vectors of documents by the base, as an index holds them; `options` as for `encode`."""
        if prompt_name == QUERY:
            raise ConfigError(f"documents are not routed: {QUERY!r} is no prompt of theirs")
        return self.encode(sentences, prompt_name, **options)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [n, m] of all pairs of embeddings: arrays, tensors or lists of them, [n, d] or [d]."""
        rows, columns = _unit(embeddings1), _unit(embeddings2)
        width = rows.shape[-1]
        return rows.reshape(-1, width) @ columns.reshape(-1, width).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [n] of the pairs (embeddings1[i], embeddings2[i])."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=-1)

    # ---- what it is

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self.backbone.device

    @property
    def max_seq_length(self) -> int:
        """So many tokens of a text are looked at."""
        return self.backbone.identity.max_length

    @property
    def prompts(self) -> dict[str, str]:
        """The model's own prompts by name; those of queries and documents may be empty."""
        return {QUERY: "", DOCUMENT: "", **self.backbone.identity.prompts}

    def get_embedding_dimension(self) -> int:
        """The width d of a vector."""
        return self.backbone.identity.dimension

    def get_sentence_embedding_dimension(self) -> int:
        """The same by its name before sentence-transformers 5."""
        return self.get_embedding_dimension()

    def get_max_seq_length(self) -> int:
        """The same as `max_seq_length`."""
        return self.max_seq_length

    # ---- how

    def _routed(self, texts: Sequence[str], advance: Callable[[int], None]) -> FloatArray:
        vectors = np.empty((len(texts), self.get_embedding_dimension()), dtype=np.float32)
        for start in range(0, len(texts), _TOGETHER):
            queries = EncodedQueries(texts[start : start + _TOGETHER], self.backbone)
            rows = slice(start, start + len(queries.texts))
            routed = routed_vectors(self.backbone, queries, self.router.route(queries))
            vectors[rows] = routed if self.query_fit is None else self._fitted(routed)
            advance(len(queries.texts))
        return vectors

    def _fitted(self, vectors: FloatArray) -> FloatArray:
        assert self.query_fit is not None
        fitted = self.query_fit.fit(vectors)
        return np.asarray(fitted / np.maximum(np.linalg.norm(fitted, axis=1, keepdims=True), 1e-12))

    def _check_prompt(self, name: str | None) -> str:
        if name is None:
            return DOCUMENT
        if name not in self.prompts:
            raise ConfigError(
                f"{self.backbone.identity.name} has no prompt {name!r} "
                f"(it has: {', '.join(self.prompts)})"
            )
        return name

    def _check_device(self, device: object | None) -> None:
        if device is None:
            return
        try:
            asked = torch.device(device)  # type: ignore[call-overload]
        except (RuntimeError, TypeError) as error:
            raise ConfigError(f"device {device!r} is no single device") from error
        same_card = asked.index in (None, self.device.index or 0)
        if asked.type != self.device.type or not same_card:
            raise ConfigError(
                f"the backbone is on {self.device}, not on {asked}; load it with device={str(asked)!r}"
            )


def _refuse_unsupported(**given: object) -> None:
    for name, value in given.items():
        allowed, instead = _ONLY[name]
        if value not in allowed:
            raise ConfigError(f"{name}={value!r} is not supported: {instead}")


def _texts(sentences: Sequence[str]) -> list[str]:
    texts = list(sentences)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"sentence {place} is a {type(text).__name__}, and only text can be encoded"
            )
    # numpy's strings are strings to Python, but not to the tokenizer.
    return [str(text) for text in texts]


@contextmanager
def _progress_bar(total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Gives what is to be called with the number of texts done since the last call."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("Encoding", total=total)
        yield lambda done: bar.advance(task, done)


def _unit(embeddings: Any) -> Tensor:
    """Embeddings [n, d] or [d], in whatever they come, as a tensor of unit rows."""
    if isinstance(embeddings, list) and embeddings and isinstance(embeddings[0], Tensor):
        rows = torch.stack(embeddings)
    else:
        rows = torch.as_tensor(
            embeddings if isinstance(embeddings, Tensor) else np.array(embeddings)
        )
    return nn.functional.normalize(rows.float(), dim=-1)
