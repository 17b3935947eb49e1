"""Training a query expert: what the training loop asks of a task."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pointsman.backbone.batching import pad
from pointsman.backbone.encoder import Backbone, EarlyStates
from pointsman.backbone.lora import LoraAdapter
from pointsman.collection.judged import Documents, Judged
from pointsman.errors import ConfigError
from pointsman.route.loss import contrastive_loss
from pointsman.types import FloatArray

Negatives = Literal["batch", "mined", "judged", "all"]

_ADAPTER = "expert:training"

Encode = Callable[[Sequence[str]], FloatArray]
"""Texts to unit query vectors [n, d]."""

Evaluate = Callable[[Encode], Mapping[str, float]]


class ExpertTask:
    """Trains an adapter for queries against documents that stay where they are (protocol `Task`).

    A step's negatives are "batch": the other queries' positives, as in the paper; "mined": those and
    each query's own `hard` documents; "judged": the positives of all queries; "all": the whole
    collection. The last two cost one matrix product, since the vectors are there already. "all" also
    teaches that a document no query asked for is wanted by none, which helps where later queries
    want the same documents, and harms where they want others; "judged" cannot say that.

    An adapter that leaves the first `lower_layers` layers alone is trained on what those give, which
    is computed once.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: LoraAdapter,
        judged: Sequence[Judged],
        documents: Documents,
        evaluate: Evaluate,
        *,
        negatives: Negatives = "all",
        hard: Sequence[Sequence[int]] | None = None,
        batch_size: int = 64,
        temperature: float = 0.05,
        dropout: float = 0.0,
        seed: int = 0,
        lower_layers: int = 0,
    ) -> None:
        self.backbone = backbone
        self._template = adapter
        self._judged = list(judged)
        self._documents = documents
        self._vectors = torch.from_numpy(documents.vectors).to(backbone.device)
        self._evaluate = evaluate
        self._negatives, self._hard = negatives, hard
        self._batch_size, self._temperature = batch_size, temperature
        self._dropout, self._seed = dropout, seed
        self._ids = backbone.token_ids([query.text for query in judged], prompt="query")
        self._states: EarlyStates | None = None
        if lower_layers:
            self._states = backbone.begin_ids(self._ids, lower_layers)
        self._positives = [
            np.array([documents.rows[id] for id in query.relevant], dtype=np.int64)
            for query in judged
        ]
        self._judged_rows = np.unique(np.concatenate(self._positives))
        self._parameters = adapter.trainable(backbone.device)

    @property
    def device(self) -> torch.device:
        """The backbone's device."""
        return self.backbone.device

    def parameters(self) -> dict[str, nn.Parameter]:
        """The adapter's matrices by name."""
        return self._parameters

    def share(self, other: ExpertTask) -> None:
        """Train the other task's weights in place of one's own; the adapters must be alike."""
        shapes = {name: p.shape for name, p in self._parameters.items()}
        if shapes != {name: p.shape for name, p in other._parameters.items()}:
            raise ConfigError("two tasks of different adapters cannot share their weights")
        self._parameters, self._template = other._parameters, other._template

    def fingerprint(self) -> str:
        """Changes with the data and the settings: a run is not continued on others."""
        digest = hashlib.sha256(self._documents.digest().encode())
        settings = (
            self.backbone.identity.sha256,
            self._negatives,
            self._batch_size,
            self._temperature,
            self._dropout,
            self._seed,
            [(name, tuple(p.shape)) for name, p in self._parameters.items()],
            [(query.text, sorted(query.relevant.items())) for query in self._judged],
            self._hard,
        )
        digest.update(repr(settings).encode())
        return digest.hexdigest()

    def batches(self, epoch: int) -> list[list[int]]:
        """An epoch's batches of query numbers; the last one holds what is left over.

        A function of seed and epoch alone. A rest of fewer than half a batch joins the one before,
        for in-batch negatives must not become few.
        """
        order = list(range(len(self._judged)))
        random.Random(self._seed * 1_000_003 + epoch).shuffle(order)
        size = self._batch_size
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        if len(batches) > 1 and len(batches[-1]) < size / 2:
            rest = batches.pop()
            batches[-1] += rest
        return batches

    def loss(self, batch: Sequence[int]) -> Tensor:
        """The contrastive loss of a batch of queries."""
        rows = self._candidates(batch)
        positive = self._positive(batch, rows)
        adapter = self._template.with_tensors(self._parameters)
        with self.backbone.using(adapter, self._dropout):
            queries = self._queries(batch)
        documents = self._vectors if rows is None else self._vectors[torch.from_numpy(rows)]
        # A cosine in bf16 has three digits; divided by the temperature that is not enough.
        with torch.autocast(self.device.type, enabled=False):
            return contrastive_loss(queries @ documents.T, positive, self._temperature)

    def evaluate(self) -> Mapping[str, float]:
        """Whatever the given measure says of the expert as it stands."""
        return self._evaluate(self.encoder())

    def encoder(self, parameters: Mapping[str, Tensor] | None = None) -> Encode:
        """Texts to vectors by the expert with these weights, or with those of this moment."""
        self.backbone.add_adapter(_ADAPTER, self.adapter(parameters))
        return lambda texts: self.backbone.encode(texts, _ADAPTER, prompt="query")

    def adapter(self, parameters: Mapping[str, Tensor] | None = None) -> LoraAdapter:
        """The adapter with these weights, or with those of this moment."""
        given = {k: v.detach() for k, v in (parameters or self._parameters).items()}
        return self._template.with_tensors(given)

    def _queries(self, batch: Sequence[int]) -> Tensor:
        """Vectors [n, d] of a batch of queries through whatever adapter is active."""
        if self._states is not None:
            rows = [self._states.rows[i] for i in batch]
            return self.backbone.sentence_vectors_upper(rows, self._states.layers)
        inputs = pad([self._ids[i] for i in batch], int(self.backbone.tokenizer.pad_token_id or 0))
        return self.backbone.sentence_vectors(inputs)

    def _candidates(self, batch: Sequence[int]) -> np.ndarray | None:
        """The documents of a step, None for all of them. One positive a query, drawn anew each time."""
        if self._negatives == "all":
            return None
        if self._negatives == "judged":
            return self._judged_rows
        chosen = {
            self._positives[i][int(torch.randint(len(self._positives[i]), ()))] for i in batch
        }
        if self._negatives == "mined" and self._hard is not None:
            chosen |= {row for i in batch for row in self._hard[i]}
        return np.array(sorted(chosen), dtype=np.int64)

    def _positive(self, batch: Sequence[int], rows: np.ndarray | None) -> Tensor:
        """Which documents [n, m] of the step are relevant to which query."""
        count = len(self._vectors) if rows is None else len(rows)
        positive = torch.zeros(len(batch), count, dtype=torch.bool)
        for row, i in enumerate(batch):
            there = self._positives[i]
            if rows is not None:
                places = np.searchsorted(rows, there).clip(max=count - 1)
                there = places[rows[places] == there]
            positive[row, torch.from_numpy(there)] = True
        return positive.to(self.device)
