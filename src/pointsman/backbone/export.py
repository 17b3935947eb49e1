"""Specialists out: as a plain PEFT folder, and merged into a sentence-transformers model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from pointsman.backbone.card import ENCODER, Extent, front_matter, hub_base, without_front_matter
from pointsman.backbone.incoming import read_pickle
from pointsman.backbone.layout import read_layout
from pointsman.backbone.lora import CONFIG_FILE, LoraAdapter, read_safetensors, write_adapter
from pointsman.backbone.shelf import check_base
from pointsman.backbone.specialist import CARD_FILE, SPECIALIST_FILE, Specialist
from pointsman.backbone.weights import Weights, locate
from pointsman.backbone.whole import whole_folder
from pointsman.errors import InputError, ModelError, SpecialistError

# What of a base's folder is not its weights and makes it a model that can be loaded.
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
_NOT_COPIED = (CONFIG_FILE, SPECIALIST_FILE)

_MERGED = """
## In this folder

The adapter is merged into the encoder's weights, for queries. Documents are embedded by the base as it is.
"""


def export_peft(specialist: Specialist, folder: Path) -> None:
    """Write PEFT's two files and a card, and nothing of a head.

    Raises InputError where there is something already, ReadOnlyError.
    """
    with whole_folder(folder, _check_vacant) as aside:
        base = hub_base(specialist) or specialist.base_name
        write_adapter(specialist.adapter, aside, base, own_dtype(specialist))
        _write(aside / CARD_FILE, carded(specialist))


def export_sentence_transformers(
    specialist: Specialist, folder: Path, backbone: str | Path | None = None
) -> None:
    """Write a sentence-transformers model: the base with the adapter merged into its weights.

    Raises SpecialistError for a specialist with a head, BackboneMismatchError where `backbone` is not
    the base that it was made on, InputError where there is something already, ReadOnlyError.
    """
    # A query expert's head says where it is at home, and changes no vector.
    if specialist.head and specialist.kind != ENCODER:
        raise SpecialistError(
            f"{specialist.name} is a {specialist.kind}: its head has no place in a sentence encoder; "
            "--format peft exports its adapter"
        )
    base = locate(backbone)
    check_base(specialist, base)
    with whole_folder(folder, _check_vacant) as aside:
        _copy_model(base.path, aside)
        _merge(specialist.adapter, base, aside)
        card = carded(specialist, "sentence-transformers", ("sentence-transformers",))
        _write(aside / CARD_FILE, card + _MERGED)


def carded(specialist: Specialist, library: str = "peft", tags: tuple[str, ...] = ("lora",)) -> str:
    """A specialist's card with front matter for the hub."""
    about = without_front_matter(specialist.card)
    if not about.strip():
        about = f"# {specialist.name}\n\n{Extent.of(specialist.adapter)}\n"
    return front_matter(specialist, library, tags) + about


def own_dtype(specialist: Specialist) -> torch.dtype:
    """The format in which a specialist can be written without losing anything."""
    tensors = [*specialist.adapter.tensors().values(), *specialist.head.values()]
    dtype = tensors[0].dtype
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _copy_model(base: Path, folder: Path) -> None:
    """All of a base's folder but its weights, with modules.json also where it had none."""
    for pattern in _MODEL_FILES:
        for file in base.glob(pattern):
            if file.is_file() and file.name not in _NOT_COPIED:
                shutil.copyfile(file, folder / file.name)
    modules = folder / "modules.json"
    if modules.is_file():
        for module in json.loads(modules.read_text(encoding="utf-8")):
            if module["path"] and (base / module["path"]).is_dir():
                shutil.copytree(base / module["path"], folder / module["path"])
        return
    layout = read_layout(base)
    width = json.loads((base / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    for path, _ in parts[1:]:
        (folder / path).mkdir()
    _write_json(
        modules,
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(parts)
        ],
    )
    _write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True},
    )
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": layout.max_length})


def _merge(adapter: LoraAdapter, base: Weights, folder: Path) -> None:
    """Write the base's weight files again, W + s · B A in the place of each adapted W.

    Only adapted weights change; every other tensor, name and file stays as it was.
    """
    from safetensors.torch import save_file

    merged: set[str] = set()
    files = sorted(base.path.glob("*.safetensors"))
    for file in files or sorted(base.path.glob("pytorch_model*.bin")):
        tensors = read_safetensors(file) if files else read_pickle(file)
        for name, pair in adapter.layers.items():
            # A file may name the model inside of another one: bert.encoder.layer.0….
            ending = f"{name}.weight"
            for key in [k for k in tensors if k == ending or k.endswith(f".{ending}")]:
                delta = pair.scale * (pair.b.float() @ pair.a.float())
                tensors[key] = (tensors[key].float() + delta).to(tensors[key].dtype)
                if name in merged:
                    raise ModelError(f"{base.name}: {name} is in its weight files more than once")
                merged.add(name)
        if files:
            save_file(tensors, folder / file.name, metadata={"format": "pt"})
        else:
            torch.save(tensors, folder / file.name)
    # Nothing in a sentence encoder uses the pooler's output, and many bases are saved without it.
    for name in sorted(adapter.layers.keys() - merged):
        if not name.startswith("pooler."):
            raise ModelError(f"{base.name}: {name} is not in its weight files by that name")


def _check_vacant(folder: Path) -> None:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder}: is there already, and is not replaced; name another place")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    _write(path, json.dumps(value, indent=2) + "\n")
