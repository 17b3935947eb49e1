"""Whole models of Hugging Face's, by path or hub name, for what they were trained to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pointsman.backbone.device import choose_device, choose_dtype
from pointsman.backbone.weights import locate
from pointsman.errors import ModelError

ModelKind = Literal["classifier", "causal", "seq2seq"]

# What a configuration calls such a model, the class that loads it, and what people call it.
_KINDS: dict[ModelKind, tuple[tuple[str, ...], str, str]] = {
    "classifier": (
        ("ForSequenceClassification",),
        "AutoModelForSequenceClassification",
        "a sequence classifier",
    ),
    "causal": (("ForCausalLM", "LMHeadModel"), "AutoModelForCausalLM", "a causal language model"),
    "seq2seq": (
        ("ForConditionalGeneration",),
        "AutoModelForSeq2SeqLM",
        "a sequence-to-sequence model",
    ),
}


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model on its device, not to be trained, and its tokenizer, whose lengths are not bounded."""

    kind: ModelKind
    model: Any
    tokenizer: Any


def load_model(
    name: str,
    kinds: Sequence[ModelKind],
    serves: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
) -> Pretrained:
    """The model of a folder or hub name that is one of `kinds`, by what its configuration says.

    `serves` says what it shall be, for messages. Raises ModelError where it is none of them, where nothing
    is there, and where weights are missing.
    """
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    weights = locate(name)
    on = choose_device(device)
    try:
        config = transformers.AutoConfig.from_pretrained(weights.path, local_files_only=True)
        made = next(iter(getattr(config, "architectures", None) or [""]))
        kind = next((each for each in kinds if made.endswith(_KINDS[each][0])), None)
        if kind is None:
            wanted = " or ".join(_KINDS[each][2] for each in kinds)
            raise ModelError(
                f"{name}: {wanted} is needed, not {made or 'a model that does not say what it is'}"
            )
        model, report = getattr(transformers, _KINDS[kind][1]).from_pretrained(
            weights.path,
            dtype=choose_dtype(on, dtype),
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(weights.path, local_files_only=True)
    except ModelError:
        raise
    except Exception as error:  # as in `Backbone.load`: many kinds of refusal, all mean the same
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{name}: cannot be loaded as {serves} ({reason})") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{name}: its weights are incomplete ({missing[0]} is missing)")
    if not tokenizer.is_fast:
        raise ModelError(f"{name}: its tokenizer gives no offsets; one with tokenizer.json does")
    tokenizer.model_max_length = int(1e30)  # lengths are ours to set
    return Pretrained(kind, model.to(on).eval().requires_grad_(False), tokenizer)
