"""Three kinds of specialist as a training step sees them, ours and as one would write them with PEFT.

reader      a span head on the token states of (question, passage) windows
expert      a query encoder, trained against passages' fixed vectors
pair head   a relevance score from the first token's state of a (query, passage) window

Both sides train the same: LoRA on all linear layers, and a head that starts with the same weights.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointsman.backbone.batching import pad
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import linear_layers, new_adapter
from pointsman.backbone.pairs import Window, collate
from pointsman.backbone.pooling import pool
from pointsman.backbone.weights import locate
from pointsman.data.beir import judged_queries, read_corpus, splits
from pointsman.errors import InputError
from pointsman.read.head import SpanHead
from pointsman.read.task import ReaderData, ReaderTask, Target
from pointsman.types import ReadingExample

BATCH = 32
DROPOUT = 0.1
# What cosines are multiplied by before the softmax.
SCALE = 20.0


class Specialist(ABC):
    """What is trained, on what, by which loss; and the rival's model for the same."""

    name: str
    rank: int
    # The training data; a batch is any of them.
    items: Sequence[Any]

    @abstractmethod
    def length(self, item: Any) -> int:
        """An item's tokens."""

    @abstractmethod
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All that our side trains."""

    @abstractmethod
    def loss(self, batch: Sequence[Any]) -> Tensor:
        """Our loss, a scalar."""

    @abstractmethod
    def rival(self, **config: float) -> nn.Module:
        """PEFT's model, whose output has a `loss`; `config` is what to change in the base's own."""

    @abstractmethod
    def inputs(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        """What the rival's model is given."""


class Reader(Specialist):
    """Trained by the very task that `pointsman train reader` trains."""

    name, rank = "Reader", 32

    def __init__(self, backbone: Backbone, examples: Sequence[ReadingExample]) -> None:
        generator = torch.Generator().manual_seed(0)
        self._layers = list(linear_layers(backbone.model))
        self._task = ReaderTask(
            backbone,
            new_adapter(backbone.model, self.rank, 2 * self.rank, generator),
            SpanHead.fresh(backbone.shape.width, generator),
            ReaderData(examples, [], [[] for _ in examples], 0.0),
            lambda reader: {},
            batch_size=BATCH,
            dropout=DROPOUT,
        )
        self.items = [target for batch in self._task.batches(0) for target in batch]

    def length(self, item: Target) -> int:
        return len(item.window)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return self._task.parameters()

    def loss(self, batch: Sequence[Target]) -> Tensor:
        return self._task.loss(batch)

    def rival(self, **config: float) -> nn.Module:
        from transformers import AutoModelForQuestionAnswering

        model = AutoModelForQuestionAnswering.from_pretrained(locate().path, **config)
        model.qa_outputs.load_state_dict(self._task.parts().head.tensors)
        return with_lora(model, "QUESTION_ANS", self.rank, self._layers)

    def inputs(self, batch: Sequence[Target]) -> dict[str, Tensor]:
        # A rival knows one answer a question.
        return {
            **collate([target.window for target in batch], 0),
            "start_positions": torch.tensor([next(iter(target.start)) for target in batch]),
            "end_positions": torch.tensor([next(iter(target.end)) for target in batch]),
        }


class _Adapted(Specialist):
    """An adapter in training, and the states that it gives."""

    def __init__(self, backbone: Backbone) -> None:
        generator = torch.Generator().manual_seed(0)
        self._backbone = backbone
        self._layers = list(linear_layers(backbone.model))
        self._template = new_adapter(backbone.model, self.rank, 2 * self.rank, generator)
        self._adapter = self._template.trainable()

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return self._adapter

    def _states(self, inputs: dict[str, Tensor]) -> Tensor:
        with self._backbone.using(self._template.with_tensors(self._adapter), DROPOUT):
            return self._backbone.forward(inputs)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query's token ids and the vector [d] of the passage that it should find."""

    ids: Sequence[int]
    passage: Tensor


class Expert(_Adapted):
    """A query encoder. The frozen base encoded the passages once, and their vectors stay."""

    name, rank = "Expert", 16

    def __init__(self, backbone: Backbone, relevant: Sequence[tuple[str, str]]) -> None:
        super().__init__(backbone)
        ids = backbone.token_ids([query for query, _ in relevant], "query")
        passages = backbone.encode([passage for _, passage in relevant], prompt="document")
        vectors = torch.from_numpy(passages)
        self.items = [_Asked(*item) for item in zip(ids, vectors, strict=True)]

    def length(self, item: _Asked) -> int:
        return len(item.ids)

    def loss(self, batch: Sequence[_Asked]) -> Tensor:
        inputs = self.inputs(batch)
        passages = inputs.pop("labels")
        return contrastive(self._states(inputs), inputs["attention_mask"], passages)

    def rival(self, **config: float) -> nn.Module:
        from transformers import AutoModel

        model = AutoModel.from_pretrained(locate().path, **config)
        return MeanPooled(with_lora(model, "FEATURE_EXTRACTION", self.rank, self._layers))

    def inputs(self, batch: Sequence[_Asked]) -> dict[str, Tensor]:
        padded = pad([item.ids for item in batch], 0)
        return {**padded, "labels": torch.stack([item.passage for item in batch])}


class MeanPooled(nn.Module):
    """The rival's query encoder, with its loss against fixed vectors as the Trainer wants it."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return {"loss": contrastive(states.last_hidden_state, attention_mask, labels)}


def contrastive(states: Tensor, mask: Tensor, passages: Tensor) -> Tensor:
    """InfoNCE in the batch: states [n, length, d] of queries, unit vectors [n, d] of their passages."""
    queries = nn.functional.normalize(pool(states, mask, ("mean",)), dim=-1)
    scores = SCALE * queries @ passages.T
    return nn.functional.cross_entropy(scores, torch.arange(len(scores)))


@dataclass(frozen=True, slots=True)
class _Judged:
    """A window over a query and a passage, and whether they belong together."""

    window: Window
    relevant: float


class PairHead(_Adapted):
    """A cross-encoder. Half of its pairs are relevant, in the other half the passage is random."""

    name, rank = "Pair head", 16

    def __init__(
        self,
        backbone: Backbone,
        relevant: Sequence[tuple[str, str]],
        passages: Sequence[str],
        rng: random.Random,
    ) -> None:
        super().__init__(backbone)
        # Far larger than one would begin with: a head near zero has the loss log 2 on any batch,
        # so that comparing the two sides' first losses would prove nothing.
        weight = torch.randn(1, backbone.shape.width, generator=torch.Generator().manual_seed(0))
        self._head = {"weight": nn.Parameter(weight), "bias": nn.Parameter(torch.zeros(1))}
        pairs = [(*pair, 1.0) for pair in relevant]
        pairs += [(query, rng.choice(passages), 0.0) for query, _ in relevant]
        windows = backbone.windows([(query, passage) for query, passage, _ in pairs])
        first = {window.pair: window for window in reversed(windows)}
        self.items = [_Judged(first[i], pairs[i][2]) for i in range(len(pairs))]

    def length(self, item: _Judged) -> int:
        return len(item.window)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return {**super().parameters(), **{f"head.{k}": v for k, v in self._head.items()}}

    def loss(self, batch: Sequence[_Judged]) -> Tensor:
        inputs = self.inputs(batch)
        labels = inputs.pop("labels")
        logits = nn.functional.linear(self._states(inputs)[:, 0].float(), **self._head)
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)

    def rival(self, **config: float) -> nn.Module:
        from transformers import AutoModelForSequenceClassification

        # transformers' name for binary cross-entropy.
        kind = {"num_labels": 1, "problem_type": "multi_label_classification"}
        model = AutoModelForSequenceClassification.from_pretrained(locate().path, **kind, **config)
        model.bert.pooler = FirstToken()
        model.classifier.load_state_dict(self._head)
        return with_lora(model, "SEQ_CLS", self.rank, self._layers)

    def inputs(self, batch: Sequence[_Judged]) -> dict[str, Tensor]:
        labels = torch.tensor([[item.relevant] for item in batch])
        return {**collate([item.window for item in batch], 0), "labels": labels}


class FirstToken(nn.Module):
    """In place of BERT's pooler, so that the rival's head too sees the first token's own state."""

    def forward(self, states: Tensor) -> Tensor:
        return states[:, 0]


def with_lora(model: nn.Module, task_type: str, rank: int, layers: Sequence[str]) -> nn.Module:
    """PEFT's model; by the task's type it knows which head is trained beside the adapter."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type=task_type,
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=DROPOUT,
        target_modules=list(layers),
    )
    adapted: nn.Module = get_peft_model(model, config)
    return adapted


def relevant_pairs(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Each query with the text of its most relevant passage, and all passages, of a BEIR directory.

    Of the training part, where there is one. Raises InputError where no query has a passage.
    """
    part = next(iter(splits(path)), "train")
    queries, qrels = judged_queries(path, part)
    passages = {d.id: f"{d.title} {d.text}".strip() for d in read_corpus(path)}
    pairs = []
    for query in queries:
        best = max(qrels[query.id], key=lambda id: qrels[query.id][id])
        if qrels[query.id][best] > 0 and best in passages:
            pairs.append((query.text, passages[best]))
    if not pairs:
        raise InputError(f"{path}: no query of the part {part!r} has a relevant passage")
    return pairs, list(passages.values())
