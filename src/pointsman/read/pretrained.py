"""Readers that others trained: Hugging Face's question-answering models, by path or hub name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pointsman.backbone.batching import length_buckets
from pointsman.backbone.flops import Shape
from pointsman.backbone.layout import position_limit
from pointsman.backbone.pairs import collate, make_windows, passage_mask
from pointsman.backbone.pretrained import load_model
from pointsman.deadline import Deadline
from pointsman.errors import ModelError
from pointsman.read.head import BLOCKED, choosable
from pointsman.read.reader import Odds, ReaderSettings, WindowReader
from pointsman.read.spans import span_log_odds

_BATCH_TOKENS = 4_096


class PretrainedReader(WindowReader):
    """An extractive model of Hugging Face's, whose first token stands for "no answer here".

    That token was taught so by SQuAD 2.0 alone: a model that always had an answer still orders its
    spans, but its confidence says little until an allocator has learned what it is worth.
    """

    def __init__(self, model: Any, tokenizer: Any, settings: ReaderSettings | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        config = model.config
        limit = position_limit(config.model_type, getattr(config, "max_position_embeddings", None))
        given = settings or ReaderSettings()
        length = min(given.max_length, limit)
        self.settings = ReaderSettings(
            length, min(given.overlap, length // 3), given.answer_width, given.calibration
        )
        self.shape = Shape.of(config)

    def span_odds(self, pairs: Sequence[tuple[str, str]], deadline: Deadline | None = None) -> Odds:
        """The windows of (question, passage) pairs in batches; each once, in any order."""
        settings = self.settings
        windows = make_windows(self.tokenizer, pairs, settings.max_length, settings.overlap)
        device = next(self.model.parameters()).device
        typed = (getattr(self.model.config, "type_vocab_size", 0) or 0) > 1
        for batch in length_buckets([len(window) for window in windows], _BATCH_TOKENS):
            if deadline is not None:
                deadline.check("reading")
            chosen = [windows[i] for i in batch]
            inputs = collate(chosen, int(self.tokenizer.pad_token_id or 0))
            if not typed:
                del inputs["token_type_ids"]
            with torch.inference_mode():
                found = self.model(**{name: each.to(device) for name, each in inputs.items()})
            passage = passage_mask(chosen, inputs["input_ids"].shape[1]).to(device)
            allowed = choosable(passage)
            start = found.start_logits.float().masked_fill(~allowed, BLOCKED)
            end = found.end_logits.float().masked_fill(~allowed, BLOCKED)
            width = min(settings.answer_width, start.shape[1])
            yield chosen, span_log_odds(start, end, passage, width)


def load_pretrained_reader(
    name: str, *, device: str | None = None, dtype: str | None = None
) -> PretrainedReader:
    """A question-answering model of a folder or hub name.

    Raises ModelError, also for one that reads no token before the question which could stand for "no
    answer here" (T5 has none, XLNet's is the last).
    """
    found = load_model(name, ("answering",), "a reader", device=device, dtype=dtype)
    ids = found.tokenizer("x")["input_ids"]
    if found.tokenizer.cls_token_id is None or ids[0] != found.tokenizer.cls_token_id:
        raise ModelError(
            f"{name}: a reader's first token stands for “no answer here”, and {found.model.config.model_type} "
            "begins with none that could; a chat endpoint may serve it"
        )
    return PretrainedReader(found.model, found.tokenizer)
