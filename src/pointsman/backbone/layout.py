"""How a model folder says its vectors are made: pooling, projection, normalisation, length, prompts.

Reads the files that sentence-transformers writes (old and new spelling). A plain Hugging Face
encoder has none of them and is mean-pooled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointsman.errors import ModelError

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

# The old spelling: one boolean a mode.
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

# A tokenizer without a limit of its own carries a huge number instead.
_UNLIMITED = 100_000


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands between token states and a sentence vector.

    `pooling` modes are concatenated in this order; `dense` folders are projections applied after
    pooling; `max_length` counts tokens, special ones included.
    """

    pooling: tuple[str, ...]
    max_length: int
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    dense: tuple[Path, ...] = ()
    lower_case: bool = False


def read_layout(folder: Path) -> Layout:
    """The layout of a model folder. Raises ModelError for a module that this encoder does not know."""
    pooling: tuple[str, ...] = ("mean",)
    dense: list[Path] = []
    modules = _json(folder / "modules.json", default=[])
    for module in modules:
        kind = str(module["type"]).rsplit(".", 1)[-1]
        where = folder / module["path"]
        if kind == "Pooling":
            pooling = _pooling(where)
        elif kind == "Dense":
            dense.append(where)
        elif kind not in ("Transformer", "Normalize", "Dropout"):
            raise ModelError(
                f"{folder.name}: its module {kind} is not supported "
                "(Transformer, Pooling, Dense and Normalize are)"
            )
    transformer = _json(folder / "sentence_bert_config.json", default={})
    prompts = _json(folder / "config_sentence_transformers.json", default={})
    return Layout(
        pooling=pooling,
        max_length=_max_length(folder, transformer),
        prompts={name: text for name, text in (prompts.get("prompts") or {}).items() if text},
        default_prompt=prompts.get("default_prompt_name"),
        dense=tuple(dense),
        lower_case=bool(transformer.get("do_lower_case", False)),
    )


def _pooling(folder: Path) -> tuple[str, ...]:
    config = _json(folder / "config.json", default={})
    if config.get("include_prompt", True) is False:
        raise ModelError(
            f"{folder.parent.name}: pooling that leaves the prompt out is not supported"
        )
    given = config.get("pooling_mode")
    if given is None:
        modes = tuple(mode for key, mode in _LEGACY_POOLING.items() if config.get(key)) or ("mean",)
    else:
        modes = (given,) if isinstance(given, str) else tuple(given)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown:
        raise ModelError(f"{folder.parent.name}: unknown pooling {unknown[0]!r}")
    return modes


def position_limit(model_type: str | None, embeddings: int | None) -> int:
    """How many tokens the base has positions for."""
    # RoBERTa and its kin count positions from the padding id on.
    offset = 2 if model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    return int(embeddings or 512) - offset


def _max_length(folder: Path, transformer: Mapping[str, Any]) -> int:
    config = _json(folder / "config.json", default=None)
    if config is None:
        raise ModelError(f"{folder}: no config.json, so this is not a model directory")
    positions = position_limit(config.get("model_type"), config.get("max_position_embeddings"))
    given = transformer.get("max_seq_length")
    if given is None:
        given = _json(folder / "tokenizer_config.json", default={}).get("model_max_length")
    if given is None or given > _UNLIMITED:
        return positions
    return min(int(given), positions)


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error})") from error
