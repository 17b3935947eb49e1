"""How well a generating model explains known answers: any Hugging Face causal or seq2seq model.

The likelihood of an answer is that of its tokens and of the end behind a prompt with the passages in
their order; of several answers, that any of them is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from pointsman.backbone.batching import length_buckets, pad
from pointsman.backbone.pretrained import ModelKind, load_model
from pointsman.errors import ConfigError
from pointsman.text import scrub
from pointsman.types import Passage

PROMPT = "{passages}\n\nQuestion: {question}\nAnswer:"

_BATCH_TOKENS = 4_096
_IGNORED = -100


class GeneratedLikelihood:
    """The likelihood of answers under a generating model (protocol `Likelihood`).

    `max_length` bounds prompt and answer in tokens; of passages that do not fit the end is cut off, the
    question never. Raises ConfigError for a tokenizer without a token for the end.
    """

    def __init__(
        self,
        kind: ModelKind,
        model: Any,
        tokenizer: Any,
        max_length: int = 2_048,
        prompt: str = PROMPT,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError("the model's tokenizer has no token for the end of a text")
        self._kind = kind
        self._model = model
        self._tokenizer = tokenizer
        limit = getattr(model.config, "max_position_embeddings", None) or max_length
        self._max_length = min(max_length, limit)
        self._prompt = prompt

    @classmethod
    def load(cls, name: str, *, device: str | None = None, dtype: str | None = None) -> Self:
        """By path or hub name. Raises ModelError where it is no such model."""
        found = load_model(
            name, ("causal", "seq2seq"), "a generating reader", device=device, dtype=dtype
        )
        return cls(found.kind, found.model, found.tokenizer)

    def log_likelihood(
        self, question: str, passages: Sequence[Passage], answers: Sequence[str]
    ) -> float:
        """log p(any of the answers | question, passages in this order); -inf for no answer."""
        return self.log_likelihoods(question, [passages], answers)[0]

    def log_likelihoods(
        self, question: str, selections: Sequence[Sequence[Passage]], answers: Sequence[str]
    ) -> list[float]:
        """The same of several selections of passages at once."""
        # Answers that differ in their letters may be the same tokens: each counts once.
        written = [self._answer(answer) for answer in map(str.strip, answers) if answer]
        said = [list(tokens) for tokens in dict.fromkeys(map(tuple, written))]
        prompts = [
            self._ask(question, passages, max(map(len, said), default=0)) for passages in selections
        ]
        rows = [(prompt, answer) for prompt in prompts for answer in said]
        found = [0.0] * len(rows)
        lengths = [len(prompt) + len(answer) for prompt, answer in rows]
        for batch in length_buckets(lengths, _BATCH_TOKENS):
            with torch.inference_mode():
                log_p = self._log_p([rows[i] for i in batch])
            for i, value in zip(batch, log_p.tolist(), strict=True):
                # A model that gives no number gives no chance.
                found[i] = value if not math.isnan(value) else -math.inf
        each = [found[i : i + len(said)] for i in range(0, len(rows), max(1, len(said)))]
        if not said:
            return [-math.inf] * len(selections)
        return [float(torch.tensor(one, dtype=torch.float64).logsumexp(0)) for one in each]

    def _answer(self, answer: str) -> list[int]:
        # What follows "Answer:" begins with a space; an encoder-decoder's answer stands alone.
        text = scrub(answer) if self._kind == "seq2seq" else f" {scrub(answer)}"
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, int(self._tokenizer.eos_token_id)]

    def _ask(self, question: str, passages: Sequence[Passage], answer: int) -> list[int]:
        """The prompt's tokens; passages lose their end where prompt and answer would not fit."""
        texts = "\n".join(scrub(passage.content) for passage in passages)
        room = self._max_length - (0 if self._kind == "seq2seq" else answer)
        ids = self._prompted(question, texts)
        if (over := len(ids) - room) > 0:
            offsets = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)[
                "offset_mapping"
            ]
            kept = offsets[: max(0, len(offsets) - over - 1)]
            ids = self._prompted(question, texts[: kept[-1][1]] if kept else "")
        if len(ids) > room:
            raise ConfigError(
                f"the question and its answer do not fit into {self._max_length} tokens"
            )
        return ids

    def _prompted(self, question: str, texts: str) -> list[int]:
        asked = self._prompt.format(passages=texts, question=scrub(question))
        return list(self._tokenizer(asked)["input_ids"])

    def _log_p(self, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        """log p(answer | prompt) [n]."""
        device = next(self._model.parameters()).device
        padding = int(self._tokenizer.pad_token_id or 0)
        if self._kind == "seq2seq":
            inputs = pad([prompt for prompt, _ in rows], padding)
            labels = pad([answer for _, answer in rows], _IGNORED)["input_ids"]
        else:
            inputs = pad([prompt + answer for prompt, answer in rows], padding)
            marked = [[_IGNORED] * len(prompt) + answer for prompt, answer in rows]
            labels = pad(marked, _IGNORED)["input_ids"]
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        if self._kind == "seq2seq":
            logits = self._model(**inputs, labels=labels.to(device)).logits
        else:
            logits, labels = self._model(**inputs).logits[:, :-1], labels[:, 1:]
        labels = labels.to(logits.device)
        counted = labels != _IGNORED
        log_p = (
            logits.float().log_softmax(-1).gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)
        )
        return torch.where(counted, log_p, torch.zeros_like(log_p)).sum(1)
