"""Graders that others trained: Hugging Face cross-encoders, and causal language models that are asked.

Their probabilities are what their makers trained them to say: for an order they serve as they are;
for a threshold that means something calibrate them first (`pointsman.grade.scaling`), with `scaled`.
"""

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pointsman.backbone.batching import length_buckets
from pointsman.backbone.flops import Shape
from pointsman.backbone.pretrained import load_model
from pointsman.backbone.weights import locate
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, ModelError, SpecialistError
from pointsman.grade.pairwise import Judged, PairTexts, PairwiseGrader
from pointsman.grade.scaling import Identity, Scaling
from pointsman.grade.scaling import of as scaling_of
from pointsman.text import scrub

BINARY = ("irrelevant", "relevant")
WORDS = ("no", "yes")
PROMPT = (
    "Question: {question}\n\nPassage: {passage}\n\n"
    "Does the passage help to answer the question? Answer with one word, {words}.\nAnswer:"
)
"""What a causal model is asked; {words} are the grades' words with "or" between them."""

GRADING_FILE = "grading.json"
"""What lies beside a classifier that was trained here: its grades, its length, its calibration."""

_BATCH_TOKENS = 4_096
_LONGEST = 512


class _Pretrained(PairwiseGrader):
    """A model of Hugging Face's that reads pairs of at most `max_length` tokens; a longer passage is cut."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        grades: Sequence[str],
        max_length: int,
        scaling: Scaling | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._grades = tuple(grades)
        self._scaling = scaling or Identity()
        limit = getattr(model.config, "max_position_embeddings", None) or max_length
        # RoBERTa's count from the padding id on.
        self._max_length = min(max_length, limit - (2 if "roberta" in _family(model) else 0))
        self._shape = Shape.of(model.config)

    @property
    def grades(self) -> tuple[str, ...]:
        return self._grades

    def scaled(self, scaling: Scaling) -> Self:
        """The same grader with a calibration."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _scaling=scaling)
        return other

    def judged(self, pairs: Sequence[PairTexts], deadline: Deadline | None = None) -> Judged:
        found = np.zeros((len(pairs), len(self._grades)), dtype=np.float32)
        gflops = np.zeros(len(pairs))
        inputs = [self.encoded(scrub(question), scrub(passage)) for question, passage in pairs]
        lengths = [len(each["input_ids"]) for each in inputs]
        for batch in length_buckets(lengths, _BATCH_TOKENS):
            if deadline is not None:
                deadline.check("grading")
            with torch.inference_mode():
                log_p = self.log_probabilities([inputs[i] for i in batch])
            found[batch] = log_p.float().softmax(-1).cpu().numpy()
            gflops[batch] = self._shape.forward_gflops(1, max(lengths[i] for i in batch))
        if not np.isfinite(found).all():
            raise ModelError("the grader's model gives no numbers (NaN); try dtype fp32")
        return np.asarray(self._scaling.apply(found), dtype=np.float32), gflops

    @abstractmethod
    def encoded(self, question: str, passage: str) -> dict[str, list[int]]:
        """A pair as the tokenizer gives it, `input_ids` among it, without padding."""

    @abstractmethod
    def log_probabilities(self, rows: Sequence[dict[str, list[int]]]) -> Tensor:
        """Log-probabilities of the grades [n, G] up to a constant a row."""

    def _padded(self, rows: Sequence[dict[str, list[int]]], left: bool) -> dict[str, Tensor]:
        """Rows as tensors [n, longest] with their `attention_mask`, on the model's device."""
        longest = max(len(row["input_ids"]) for row in rows)
        device = next(self.model.parameters()).device
        values = {"input_ids": int(self.tokenizer.pad_token_id or 0), "token_type_ids": 0}
        out: dict[str, Tensor] = {}
        for name in (*rows[0], "attention_mask"):
            out[name] = torch.full((len(rows), longest), values.get(name, 0))
        for i, row in enumerate(rows):
            length = len(row["input_ids"])
            place = slice(longest - length, longest) if left else slice(0, length)
            out["attention_mask"][i, place] = 1
            for name, value in row.items():
                out[name][i, place] = torch.tensor(value)
        return {name: tensor.to(device) for name, tensor in out.items()}


class CrossEncoderGrader(_Pretrained):
    """A sequence classifier over question and passage.

    One label is the logit of "relevant", two or more are grades, lowest first.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        grades: Sequence[str] | None = None,
        max_length: int = _LONGEST,
        scaling: Scaling | None = None,
    ) -> None:
        count = max(2, int(model.config.num_labels))
        named = model.config.id2label
        if grades is None:
            grades = (
                BINARY if int(model.config.num_labels) == 1 else [named[i] for i in range(count)]
            )
        if len(grades) != count:
            raise ConfigError(f"the classifier has {count} grades, not {len(grades)}")
        super().__init__(model, tokenizer, grades, max_length, scaling)
        self._takes_types = getattr(model.config, "type_vocab_size", 0) > 1

    def encoded(self, question: str, passage: str) -> dict[str, list[int]]:
        """The pair as tokens, the passage cut, and a question that would leave it no room."""
        # A question is cut where it would leave the passage no room.
        ids = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        half = ids["offset_mapping"][: self._max_length // 2]
        encoded = self.tokenizer(
            question[: half[-1][1]] if half else "",
            passage,
            truncation="only_second",
            max_length=self._max_length,
            return_token_type_ids=self._takes_types,
            return_attention_mask=False,
        )
        return {name: list(value) for name, value in encoded.items()}

    def log_probabilities(self, rows: Sequence[dict[str, list[int]]]) -> Tensor:
        """The logits of the grades [n, G]."""
        logits: Tensor = self.model(**self._padded(rows, left=False)).logits
        if logits.shape[-1] == 1:  # softmax of (0, x) is the sigmoid
            return torch.cat([torch.zeros_like(logits), logits], dim=-1)
        return logits


class CausalGrader(_Pretrained):
    """A causal language model that is asked for one word a grade; `words` are lowest first.

    A grade's probability is that of its word's first token, as it may be spelt (with a capital, after
    a space), among those of all grades. A tokenizer's chat template is used where there is one.

    Raises ConfigError where two words begin with the same token.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        grades: Sequence[str] | None = None,
        max_length: int = 2 * _LONGEST,
        scaling: Scaling | None = None,
        *,
        words: Sequence[str] = WORDS,
        prompt: str = PROMPT,
    ) -> None:
        if grades is None:
            grades = BINARY if tuple(words) == WORDS else words
        if len(grades) != len(words) or len(words) < 2:
            raise ConfigError(
                f"each grade has its word, and there are two or more: {len(grades)} grades, "
                f"{len(words)} words"
            )
        super().__init__(model, tokenizer, grades, max_length, scaling)
        self._prompt = prompt.replace("{words}", " or ".join(words))
        self._firsts = [self._first_tokens(word) for word in words]
        for one, other in combinations(range(len(words)), 2):
            if self._firsts[one] & self._firsts[other]:
                raise ConfigError(
                    f"{words[one]!r} and {words[other]!r} begin with the same token of this model; "
                    "give other words"
                )
        parameters = inspect.signature(model.forward).parameters
        self._keeps_last = "logits_to_keep" in parameters
        self._takes_positions = "position_ids" in parameters

    def _first_tokens(self, word: str) -> frozenset[int]:
        spelt = (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
        ids = (self.tokenizer(each, add_special_tokens=False)["input_ids"] for each in spelt)
        return frozenset(each[0] for each in ids) - {self.tokenizer.unk_token_id}

    def encoded(self, question: str, passage: str) -> dict[str, list[int]]:
        """What is asked about the pair as tokens, the passage cut."""
        asked = self._asked(question, passage)
        if (over := len(asked) - self._max_length) > 0:
            whole = self.tokenizer(passage, add_special_tokens=False, return_offsets_mapping=True)[
                "offset_mapping"
            ]
            kept = whole[: max(0, len(whole) - over - 1)]
            asked = self._asked(question, passage[: kept[-1][1]] if kept else "")
        # What is asked stands at the end.
        return {"input_ids": asked[-self._max_length :]}

    def _asked(self, question: str, passage: str) -> list[int]:
        text = self._prompt.replace("{question}", question).replace("{passage}", passage)
        if getattr(self.tokenizer, "chat_template", None):
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer(text)["input_ids"])

    def log_probabilities(self, rows: Sequence[dict[str, list[int]]]) -> Tensor:
        """The log-probabilities of the grades' words [n, G], not yet against one another."""
        inputs = self._padded(rows, left=True)
        if self._takes_positions:
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        kept = {"logits_to_keep": 1} if self._keeps_last else {}
        last = self.model(**inputs, **kept).logits[:, -1].float().log_softmax(-1)
        return torch.stack([last[:, sorted(ids)].logsumexp(-1) for ids in self._firsts], dim=-1)


def load_pretrained(
    name: str,
    grades: Sequence[str] | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
) -> CrossEncoderGrader | CausalGrader:
    """The grader of a folder or hub name, by what its configuration says it is.

    `grades` name a classifier's labels, lowest first, and are the words that a causal model is asked
    for; None: the model's own labels, and no or yes. One that was fully fine-tuned here is calibrated
    as it was on dev.

    Raises ModelError where it is neither a sequence classifier nor a causal model, where nothing is
    there, and where weights are missing; SpecialistError for a calibration that cannot be read.
    """
    found = load_model(name, ("classifier", "causal"), "a grader", device=device, dtype=dtype)
    if found.kind == "causal":
        return CausalGrader(found.model, found.tokenizer, grades, words=grades or WORDS)
    beside = locate(name).path / GRADING_FILE
    if not beside.is_file():
        return CrossEncoderGrader(found.model, found.tokenizer, grades)
    try:
        known = json.loads(beside.read_text(encoding="utf-8"))
        own, length = [str(grade) for grade in known["grades"]], int(known["max_length"])
        scaling = scaling_of(known["scaling"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecialistError(f"{beside}: corrupt ({error!r}); copy or train it again") from error
    return CrossEncoderGrader(found.model, found.tokenizer, grades or own, length, scaling)


def _family(model: Any) -> str:
    return str(getattr(model.config, "model_type", ""))
