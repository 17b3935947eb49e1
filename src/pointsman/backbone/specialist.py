"""A specialist on disk: a LoRA adapter in PEFT's files, a small head, and what they are and know.

adapter_config.json, adapter_model.safetensors   PEFT's own files
head.safetensors                                 the head's tensors
specialist.json                                  kind, base hash, calibration, provenance, numbers
README.md                                        the card for people
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointsman.backbone.lora import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    LoraAdapter,
    read_adapter,
    read_safetensors,
    write_adapter,
)
from pointsman.backbone.weights import file_sha256
from pointsman.backbone.whole import check_only_over, whole_folder
from pointsman.errors import InputError, SpecialistError

FORMAT_VERSION = 1
SPECIALIST_FILE = "specialist.json"
HEAD_FILE = "head.safetensors"
CARD_FILE = "README.md"

# A colon would be an adapter's of another kind ("reader:legal"), a separator another folder's.
_NAME = re.compile(r"\w[\w .+-]*")


@dataclass(frozen=True)
class Specialist:
    """One learned part: its adapter, its head, and what is known about it.

    `kind` says which stage it serves; `settings` what that stage needs to use it (calibration,
    lengths); `training` how it was made (command, data, seed); `numbers` what was measured.
    """

    kind: str
    name: str
    base_sha256: str
    base_name: str
    adapter: LoraAdapter
    head: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""


def check_replaceable(folder: Path) -> None:
    """Raise SpecialistError where something other than a specialist would be overwritten."""
    check_only_over(folder, SPECIALIST_FILE, "a specialist")


def save_specialist(
    specialist: Specialist,
    folder: Path,
    dtype: torch.dtype = torch.float16,
    check: Callable[[Path], None] = check_replaceable,
) -> None:
    """Write a specialist aside and move it into place, so that `folder` is never half a specialist.

    Replaces what lies there if `check` lets it, by default any specialist. Raises SpecialistError, and
    touches nothing, where something else does, and ReadOnlyError where nothing can be written.
    """
    from safetensors.torch import save_file

    with whole_folder(folder, check) as aside:
        write_adapter(specialist.adapter, aside, specialist.base_name, dtype)
        head = {k: v.detach().to("cpu", dtype).contiguous() for k, v in specialist.head.items()}
        save_file(head, aside / HEAD_FILE, metadata={"format": "pt"})
        description = {
            "format_version": FORMAT_VERSION,
            "kind": specialist.kind,
            "name": specialist.name,
            "base": {"sha256": specialist.base_sha256, "name": specialist.base_name},
            "files": {
                name: file_sha256(aside / name) for name in (CONFIG_FILE, WEIGHTS_FILE, HEAD_FILE)
            },
            "settings": dict(specialist.settings),
            "training": dict(specialist.training),
            "numbers": dict(specialist.numbers),
        }
        (aside / SPECIALIST_FILE).write_text(
            json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (aside / CARD_FILE).write_text(specialist.card, encoding="utf-8")


def load_specialist(folder: Path, kind: str | None = None) -> Specialist:
    """Read and verify a specialist. Raises SpecialistError where it is missing, corrupt or of another kind."""
    path = folder / SPECIALIST_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version = int(description["format_version"])
        found, name = str(description["kind"]), str(description["name"])
        base_sha256, base_name = (
            str(description["base"]["sha256"]),
            str(description["base"]["name"]),
        )
        files = dict(description["files"])
    except (FileNotFoundError, NotADirectoryError):
        raise SpecialistError(f"{folder}: not a specialist (no {SPECIALIST_FILE})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SpecialistError(f"{path}: corrupt ({error!r}); copy or train it again") from error
    if version > FORMAT_VERSION:
        raise SpecialistError(
            f"{folder}: format {version} is newer than this Pointsman knows ({FORMAT_VERSION}); upgrade it"
        )
    if kind is not None and found != kind:
        raise SpecialistError(f"{folder}: a specialist of kind {found!r}, but {kind!r} is needed")
    for file, expected in files.items():
        if not (folder / file).is_file():
            raise SpecialistError(f"{folder / file}: missing")
        if file_sha256(folder / file) != expected:
            raise SpecialistError(
                f"{folder / file}: corrupt (its SHA-256 is not the recorded one); copy or train it again"
            )
    card = folder / CARD_FILE
    return Specialist(
        kind=found,
        name=name,
        base_sha256=base_sha256,
        base_name=base_name,
        adapter=read_adapter(folder),
        head=read_safetensors(folder / HEAD_FILE),
        settings=description.get("settings", {}),
        training=description.get("training", {}),
        numbers=description.get("numbers", {}),
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
    )


def check_name(name: str, taken: Sequence[str] = ("none", "default")) -> None:
    """Raise InputError where a specialist cannot be called so: it is the name of a folder, and none that is
    `taken` by the settings.
    """
    if name in taken:
        raise InputError(f"{name!r} means something to the settings; give it another name")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a name for a specialist: letters, digits, and then . + - or a space"
        )
