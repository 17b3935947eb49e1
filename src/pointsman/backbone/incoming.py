"""Specialists in: PEFT's folders in any of their spellings, onto a base that is known by its hash."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pointsman.backbone.card import ENCODER, encoder_card, read_front_matter
from pointsman.backbone.lora import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    LoraAdapter,
    read_adapter,
    read_safetensors,
)
from pointsman.backbone.shelf import check_base
from pointsman.backbone.specialist import (
    CARD_FILE,
    SPECIALIST_FILE,
    Specialist,
    load_specialist,
)
from pointsman.backbone.weights import Weights, file_sha256, locate
from pointsman.errors import ModelError, SpecialistError

if TYPE_CHECKING:
    from torch import nn

PICKLE_FILE = "adapter_model.bin"
_PREFIX = "base_model.model."
_KEY = re.compile(r"(?:base_model\.model\.)?(.+\.lora_[AB])(?:\.[^.]+)?\.weight")

# Settings of PEFT's LoRA under which the two matrices alone are not the whole adapter.
_BEYOND_LORA = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
)
# Starts that leave the base's own weights as they are; PiSSA, OLoRA and their kin change them too.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


def import_specialist(
    source: Path,
    name: str,
    backbone: str | Path | None = None,
    *,
    kind: str = ENCODER,
    origin: str = "",
    revision: str = "",
) -> Specialist:
    """Read a PEFT folder as a specialist without a head, on a base that is known by its hash.

    A folder that is a specialist already is taken whole. `origin` is what the source is called, by
    default its folder's name. Raises SpecialistError where it is corrupt, not plain LoRA, or does
    not fit the base; also where it names another base than the default and `backbone` is not given.
    """
    if (source / SPECIALIST_FILE).is_file():
        whole = load_specialist(source)
        base = locate(backbone)
        check_base(whole, base)
        fit(whole.adapter, base, source)
        return replace(whole, name=name)
    adapter, config = _read_peft(source)
    base = locate(backbone)
    named = _shown(config.get("base_model_name_or_path"))
    if backbone is None and named and _last(named) != _last(base.name):
        raise SpecialistError(
            f"{source}: made on {named}, not on {base.name}; name its base with --backbone "
            f"(--backbone {base.name} takes it for this one all the same)"
        )
    weights = source / WEIGHTS_FILE
    training: dict[str, Any] = {
        "source": origin or source.resolve().name,
        "revision": revision,
        "source_base": named,
        "source_sha256": file_sha256(weights if weights.is_file() else source / PICKLE_FILE),
        "licences": {},
    }
    licence = read_front_matter(_text(source / CARD_FILE)).get("license")
    if isinstance(licence, str):
        training["licences"] = {training["source"]: licence}
    specialist = Specialist(
        kind=kind,
        name=name,
        base_sha256=base.sha256,
        base_name=base.name,
        adapter=fit(adapter, base, source),
        training=training,
    )
    return replace(specialist, card=encoder_card(specialist))


def _read_peft(folder: Path) -> tuple[LoraAdapter, Mapping[str, Any]]:
    """Any of PEFT's spellings as an adapter, its layers named as in the model that was adapted."""
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() and (folder / PICKLE_FILE).is_file():
        weights = folder / PICKLE_FILE
    if not (folder / CONFIG_FILE).is_file():
        raise SpecialistError(f"{folder / CONFIG_FILE}: missing, so this is not a PEFT folder")
    tensors = _spelt_alike(
        read_pickle(weights) if weights.suffix == ".bin" else read_safetensors(weights), weights
    )
    # Patterns speak of the layers' original names, so the reader of adapters sees those.
    with tempfile.TemporaryDirectory() as there:
        from safetensors.torch import save_file

        alike = Path(there)
        shutil.copyfile(folder / CONFIG_FILE, alike / CONFIG_FILE)
        save_file(tensors, alike / WEIGHTS_FILE)
        try:
            adapter = read_adapter(alike)
        except SpecialistError as error:
            told = str(error).replace(str(alike / WEIGHTS_FILE), str(weights))
            raise SpecialistError(told.replace(str(alike), str(folder))) from error
    config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    for key in _BEYOND_LORA:
        if config.get(key):
            raise SpecialistError(f"{folder}: {key} is not plain LoRA, and cannot be stacked")
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        raise SpecialistError(
            f"{folder}: started by {config['init_lora_weights']}, which changes the base too; convert "
            "it with PEFT's save_pretrained(path_initial_model_for_weight_conversion=…)"
        )
    return adapter, config


def _spelt_alike(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """PEFT's present names: with its prefix, without the adapter's own name."""
    alike: dict[str, Tensor] = {}
    for key, value in tensors.items():
        match = _KEY.fullmatch(key)
        new = f"{_PREFIX}{match[1]}.weight" if match else key
        if new in alike:
            raise SpecialistError(f"{file}: holds more than one adapter ({key!r}); save each alone")
        if match and value.ndim != 2:
            raise SpecialistError(
                f"{file}: {key!r} is not a matrix; only linear layers are adapted"
            )
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise SpecialistError(f"{file}: {key!r} is not made of finite numbers")
        alike[new] = value.contiguous()
    return alike


def read_pickle(path: Path) -> dict[str, Tensor]:
    """All tensors of a file of torch.save's. Raises SpecialistError where it holds anything else."""
    # weights_only: a pickle can run any program, and this one came from somebody.
    try:
        tensors: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        raise SpecialistError(
            f"{path}: corrupt, or holds more than tensors; safetensors can hold nothing else"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise SpecialistError(f"{path}: holds more than tensors; safetensors can hold nothing else")
    # Safetensors refuses tensors that share memory, which a pickle keeps.
    return {str(key): value.clone() for key, value in tensors.items()}


def fit(adapter: LoraAdapter, base: Weights, source: Path) -> LoraAdapter:
    """The adapter with its layers named as the base names them, checked by shape.

    A model that was adapted inside of another (a sentence transformer, a classifier) has a prefix
    before those names, the same everywhere. `source` is where the adapter is from, for messages.
    Raises SpecialistError where a layer is not one of the base's linear ones, maps other dimensions
    or has another prefix than the rest; ModelError where the base is no encoder.
    """
    linear = _linear_layers(base)
    layers, prefixes = {}, set()
    for name, pair in adapter.layers.items():
        parts = name.split(".")
        ends = [".".join(parts[i:]) for i in range(len(parts))]
        known = next((end for end in ends if end in linear), None)
        if known is None:
            raise SpecialistError(
                f"{source}: the adapter changes {name!r}, which {base.name} does not have"
            )
        shape = (pair.b.shape[0], pair.a.shape[1])
        if shape != (linear[known].out_features, linear[known].in_features):
            raise SpecialistError(
                f"{source}: the adapter's {known} maps {shape[1]} to {shape[0]} dimensions, "
                f"{base.name}'s {linear[known].in_features} to {linear[known].out_features}"
            )
        layers[known] = pair
        prefixes.add(name.removesuffix(known))
    if len(prefixes) > 1:
        one, other = sorted(prefixes)[:2]
        raise SpecialistError(f"{source}: adapts two models, {one!r} and {other!r}; one is needed")
    return LoraAdapter(layers)


def _linear_layers(base: Weights) -> dict[str, nn.Linear]:
    """The base's linear layers without their weights: shapes are enough."""
    from torch import nn
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(base.path, local_files_only=True)
        with torch.device("meta"):
            model: nn.Module = AutoModel.from_config(config)
    except Exception as error:  # a loader of many formats fails in many ways
        raise ModelError(
            f"{base.name}: cannot be loaded as an encoder ({_first(error)})"
        ) from error
    return {n: module for n, module in model.named_modules() if isinstance(module, nn.Linear)}


def _shown(base: object) -> str:
    """A base's name as a configuration gives it; of a path on somebody's machine only its end."""
    name = str(base or "").replace("\\", "/").rstrip("/")
    return name if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) else name.rsplit("/", 1)[-1]


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
