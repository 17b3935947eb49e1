"""Whole models of Hugging Face's, by path or hub name, for what they were trained to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pointsman.backbone.device import choose_device, choose_dtype
from pointsman.backbone.weights import locate
from pointsman.errors import ModelError

ModelKind = Literal["classifier", "causal", "seq2seq", "answering"]

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
    "answering": (
        ("ForQuestionAnswering",),
        "AutoModelForQuestionAnswering",
        "a question-answering model",
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

    weights = locate(name)
    on = choose_device(device)
    with _loading(name, serves):
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
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{name}: its weights are incomplete ({missing[0]} is missing)")
    return Pretrained(kind, model.to(on).eval().requires_grad_(False), _unbounded(name, tokenizer))


@dataclass(frozen=True, slots=True)
class NewClassifier(Pretrained):
    """A sequence classifier to be trained, in fp32; `fresh` names the weights that nobody trained yet.

    Of a classifier that had as many labels already these are its head's.
    """

    fresh: tuple[str, ...]


def load_classifier(
    name: str | Path | None,
    labels: Sequence[str],
    *,
    seed: int = 0,
    device: str | None = None,
) -> NewClassifier:
    """The encoder or classifier of a folder or hub name, None the default, with a head of these labels.

    Raises ModelError where nothing is there or it cannot classify.
    """
    import transformers

    weights = locate(name)
    on = choose_device(device)
    shown = str(name or weights.name)
    # What is new is drawn with this seed, and nothing else's draws are moved by it.
    with _loading(shown, "a sequence classifier"), torch.random.fork_rng():
        torch.manual_seed(seed)
        model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            weights.path,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(weights.path, local_files_only=True)
    body = f"{model.base_model_prefix}."
    names = [key for key, _ in model.named_parameters()]
    # transformers reports a tensor of another shape as its name and both shapes.
    changed = {each[0] if isinstance(each, tuple) else each for each in report["mismatched_keys"]}
    new = changed | set(report["missing_keys"])
    fresh = [key for key in names if key in new] or [k for k in names if not k.startswith(body)]
    return NewClassifier(
        "classifier", model.to(on).eval(), _unbounded(shown, tokenizer), tuple(fresh)
    )


@contextmanager
def _loading(name: str, serves: str) -> Iterator[None]:
    """transformers kept quiet, and its many kinds of refusal, which all mean the same, as one."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{name}: cannot be loaded as {serves} ({reason})") from error


def _unbounded(name: str, tokenizer: Any) -> Any:
    """A tokenizer that gives offsets and cuts nothing: lengths are ours to set."""
    if not tokenizer.is_fast:
        raise ModelError(f"{name}: its tokenizer gives no offsets; one with tokenizer.json does")
    tokenizer.model_max_length = int(1e30)
    return tokenizer
