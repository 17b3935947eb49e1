"""Specialists in and out: PEFT's and sentence-transformers' own results are the expected ones."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pointsman.backbone.card import (
    Extent,
    encoder_card,
    front_matter,
    licences,
    main_number,
    read_front_matter,
    without_front_matter,
)
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.export import export_peft, export_sentence_transformers, own_dtype
from pointsman.backbone.incoming import PICKLE_FILE, import_specialist
from pointsman.backbone.lora import CONFIG_FILE, WEIGHTS_FILE, LoraAdapter, LowRank
from pointsman.backbone.shelf import find, named, verify
from pointsman.backbone.specialist import (
    CARD_FILE,
    HEAD_FILE,
    SPECIALIST_FILE,
    Specialist,
    load_specialist,
    save_specialist,
)
from pointsman.backbone.weights import DEFAULT_SHA256, locate
from pointsman.errors import (
    BackboneMismatchError,
    InputError,
    ModelError,
    SpecialistError,
)
from tiny import flip_byte, tiny_model, write_sentence_transformer, write_tiny

TEXTS = ["alpha", "beta follows gamma", "what is the colour of red", "rho sigma tau " * 9]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- adapters as PEFT makes them ------------------------------------------------------------------


def moved(model: Any, seed: int = 1) -> Any:
    """A PEFT model whose B is far from its usual zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return model.eval()


def peft_folder(folder: Path, model: nn.Module | None = None, **config: Any) -> Path:
    from peft import LoraConfig, get_peft_model

    wanted = {"target_modules": ["query", "value"], "r": 4, "lora_alpha": 8, **config}
    base = tiny_model() if model is None else model
    moved(get_peft_model(base, LoraConfig(**wanted))).save_pretrained(str(folder))
    return folder


def peft_deltas(folder: Path, model: nn.Module | None = None) -> dict[str, Tensor]:
    """ΔW of every layer that PEFT itself adapts when it loads a folder."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    loaded = PeftModel.from_pretrained(tiny_model() if model is None else model, str(folder))
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach()
        for name, module in loaded.named_modules()
        if isinstance(module, LoraLayer)
    }


def our_deltas(adapter: LoraAdapter) -> dict[str, Tensor]:
    return {name: pair.scale * (pair.b @ pair.a) for name, pair in adapter.layers.items()}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, delta in expected.items():
        assert torch.allclose(found[name], delta, atol=1e-5), name


KINDS: dict[str, dict[str, Any]] = {
    "list": {},
    "regular expression": {"target_modules": r"encoder\.layer\.1\..*\.(query|key|dense)"},
    "all-linear": {"target_modules": "all-linear"},
    "patterns": {
        "rank_pattern": {"query": 2, r"layer\.1\.attention\.self\.value": 6},
        "alpha_pattern": {"layer.0.attention.self.value": 32, "query": 3},
    },
    "rank-stabilised": {"use_rslora": True, "rank_pattern": {"value": 9}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_pefts_configurations(tmp_path: Path, tiny_folder: Path, kind: str) -> None:
    folder = peft_folder(tmp_path / "a", **KINDS[kind])
    found = import_specialist(folder, "a", tiny_folder)
    assert_alike(our_deltas(found.adapter), peft_deltas(folder))


def classifier() -> Any:
    from transformers import BertForSequenceClassification

    return BertForSequenceClassification(tiny_model().config)


def test_a_model_inside_of_a_classifier(tmp_path: Path, tiny_folder: Path) -> None:
    # Patterns name layers as that model does, with its own prefix.
    pattern = {"bert.encoder.layer.0.attention.self.query": 3, "bert.encoder.layer.1.*": 64}
    folder = peft_folder(tmp_path / "a", classifier(), alpha_pattern=pattern)
    expected = {k.removeprefix("bert."): v for k, v in peft_deltas(folder, classifier()).items()}
    found = import_specialist(folder, "a", tiny_folder)
    assert_alike(our_deltas(found.adapter), expected)


@pytest.mark.parametrize("way", ["wrapped", "added"])
def test_a_sentence_transformer(tmp_path: Path, way: str) -> None:
    from peft import LoraConfig, get_peft_model
    from sentence_transformers import SentenceTransformer

    base = write_sentence_transformer(tmp_path / "tiny", {"pooling_mode_mean_tokens": True})
    model: Any = SentenceTransformer(str(base), device="cpu")
    config = LoraConfig(target_modules=["query", "value"], r=4)
    if way == "wrapped":
        moved(get_peft_model(model, config)).save_pretrained(str(tmp_path / "a"))
    else:
        try:
            model.add_adapter(config)
        except ValueError as error:
            # transformers 5.24 wants a PEFT that is not out yet.
            if "version of PEFT" not in str(error):
                raise
            pytest.skip(str(error))
        moved(model).save_pretrained(str(tmp_path / "a"))
    expected = model.encode(TEXTS, normalize_embeddings=True)
    found = import_specialist(tmp_path / "a", "a", base)
    backbone = Backbone.load(base, device="cpu", dtype="fp32")
    backbone.add_adapter("a", found.adapter, found.base_sha256)
    assert np.abs(backbone.encode(TEXTS, "a") - expected).max() < 1e-5
    assert np.abs(backbone.encode(TEXTS) - expected).max() > 0.05


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS_FILE), folder / PICKLE_FILE)
    (folder / WEIGHTS_FILE).unlink()


def renamed(change: Callable[[str], str]) -> Callable[[Path], None]:
    def rename(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS_FILE)
        save_file({change(key): value for key, value in tensors.items()}, folder / WEIGHTS_FILE)

    return rename


SPELLINGS: dict[str, Callable[[Path], None]] = {
    "pickle": as_pickle,
    "with the adapter's name": renamed(lambda key: key.replace(".weight", ".default.weight")),
    "with a name of other characters": renamed(lambda key: key.replace(".weight", ".a-b.weight")),
    "without PEFT's prefix": renamed(lambda key: key.removeprefix("base_model.model.")),
    "an older sentence transformer": renamed(
        lambda key: key.replace(".model.", ".model.0.auto_model.")
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_the_weights(tmp_path: Path, tiny_folder: Path, spelling: str) -> None:
    folder = peft_folder(tmp_path / "a")
    expected = peft_deltas(folder)
    SPELLINGS[spelling](folder)
    before = contents(folder)
    found = import_specialist(folder, "a", tiny_folder)
    assert_alike(our_deltas(found.adapter), expected)
    assert contents(folder) == before


@given(
    prefix=st.lists(st.from_regex(r"[a-z0-9_]{1,6}", fullmatch=True), max_size=4),
    adapter=st.sampled_from(["", ".default", ".law"]),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_prefix_leads_to_the_bases_names(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, prefix: list[str], adapter: str
) -> None:
    folder = tmp_path_factory.mktemp("prefix")
    layer = "encoder.layer.1.attention.self.key"
    outer = ".".join([*prefix, layer])
    pair = {"A": torch.ones(2, 32), "B": torch.ones(32, 2)}
    save_file(
        {f"{outer}.lora_{which}{adapter}.weight": value for which, value in pair.items()},
        folder / WEIGHTS_FILE,
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "alpha_pattern": {outer: 1}}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    found = import_specialist(folder, "a", tiny_folder).adapter
    assert list(found.layers) == [layer]
    assert found.layers[layer].scale == 0.5


def test_what_is_recorded(tmp_path: Path, tiny_folder: Path, tiny: Backbone) -> None:
    folder = peft_folder(tmp_path / "law")
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["base_model_name_or_path"] = "/home/somebody/models/tiny"
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / CARD_FILE).write_text("---\nlicense: cc-by-4.0\n---\n\n# Law\n")
    found = import_specialist(folder, "jura", tiny_folder, origin="org/law", revision="abc1")
    assert (found.kind, found.name, dict(found.head)) == ("encoder", "jura", {})
    assert found.base_sha256 == tiny.identity.sha256
    assert found.training["source_base"] == "tiny"
    assert licences(found) == ("cc-by-4.0",)
    assert "somebody" not in found.card
    for said in (
        "# jura: a query encoder",
        "org/law at revision abc1",
        "Licence: cc-by-4.0",
        "rank 4",
    ):
        assert said in found.card
    # And it goes to disk and back without losing a bit.
    save_specialist(found, tmp_path / "out" / "jura", own_dtype(found))
    back = load_specialist(tmp_path / "out" / "jura", "encoder")
    assert own_dtype(back) == torch.float32
    assert all(
        torch.equal(back.adapter.tensors()[k], v) for k, v in found.adapter.tensors().items()
    )


def test_another_base_has_to_be_named(tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a")
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["base_model_name_or_path"] = "org/other-encoder"
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(SpecialistError, match="made on org/other-encoder, not on all-MiniLM-L6-v2"):
        import_specialist(folder, "a")
    # Named, it is the shapes that decide.
    with pytest.raises(SpecialistError, match="maps 32 to 32 dimensions, all-MiniLM-L6-v2's 384"):
        import_specialist(folder, "a", "all-MiniLM-L6-v2")


def test_a_whole_specialist_comes_in_with_its_head(
    tmp_path: Path, expert: Specialist, tiny_folder: Path
) -> None:
    reader = replace(expert, kind="reader", head={"weight": torch.ones(2, 32)})
    save_specialist(reader, tmp_path / "a")
    found = import_specialist(tmp_path / "a", "b", tiny_folder)
    assert (found.kind, found.name) == ("reader", "b")
    assert torch.equal(found.head["weight"], torch.ones(2, 32).half())
    with pytest.raises(BackboneMismatchError, match=r"made on tiny.*this base is all-MiniLM-L6-v2"):
        import_specialist(tmp_path / "a", "b")


# --- adapters that are refused --------------------------------------------------------------------


def configured(**changed: Any) -> Callable[[Path], None]:
    def configure(folder: Path) -> None:
        config = json.loads((folder / CONFIG_FILE).read_text())
        (folder / CONFIG_FILE).write_text(json.dumps({**config, **changed}))

    return configure


def with_tensor(key: str, value: Tensor) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        save_file({**load_file(folder / WEIGHTS_FILE), key: value}, folder / WEIGHTS_FILE)

    return add


QUERY = "base_model.model.encoder.layer.0.attention.self.query"


class Payload:
    """What a pickle can do to whoever loads it without care."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.unlink, (Path("precious"),)  # type: ignore[return-value]


def program_in_pickle(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    torch.save({"a": Payload()}, folder / PICKLE_FILE)


def damaged_pickle(folder: Path) -> None:
    as_pickle(folder)
    flip_byte(folder / PICKLE_FILE, 0)


def only_a_list_in_pickle(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    torch.save([torch.ones(2)], folder / PICKLE_FILE)


def damaged_weights(folder: Path) -> None:
    flip_byte(folder / WEIGHTS_FILE, 0)


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()


def no_config(folder: Path) -> None:
    (folder / CONFIG_FILE).unlink()


def not_json(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (configured(use_dora=True), "DoRA cannot be stacked"),
        (configured(bias="all"), "trained biases"),
        (configured(modules_to_save=["classifier"]), "modules_to_save"),
        (configured(peft_type="IA3"), "the IA3 kind"),
        (configured(alora_invocation_tokens=[1, 2]), "alora_invocation_tokens is not plain LoRA"),
        (configured(init_lora_weights="pissa"), "started by pissa, which changes the base too"),
        (with_tensor(f"{QUERY}.lora_A.other.weight", torch.ones(4, 32)), "more than one adapter"),
        (with_tensor(f"{QUERY}.lora_A.weight", torch.full((4, 32), math.nan)), "finite numbers"),
        (with_tensor(f"{QUERY}.lora_A.weight", torch.ones(4, 32, 1)), "is not a matrix"),
        (with_tensor(f"{QUERY}.lora_A.weight", torch.ones(3, 32)), "do not belong together"),
        (with_tensor(f"{QUERY}.lora_A.weight", torch.ones(4, 48)), "maps 48 to 32 dimensions"),
        (with_tensor("base_model.model.classifier.bias", torch.ones(2)), "not a LoRA matrix"),
        (renamed(lambda key: key.replace("self", "cross")), "which tiny does not have"),
        (renamed(lambda key: key.replace("layer.1", "layer.9")), "which tiny does not have"),
        (renamed(lambda k: k.replace("encoder.layer.1", "a.encoder.layer.1")), "two models"),
        (program_in_pickle, f"{PICKLE_FILE}: corrupt, or holds more than tensors"),
        (only_a_list_in_pickle, f"{PICKLE_FILE}: holds more than tensors"),
        (damaged_pickle, f"{PICKLE_FILE}: corrupt"),
        (damaged_weights, f"{WEIGHTS_FILE}: corrupt"),
        (no_weights, f"{WEIGHTS_FILE}: missing"),
        (no_config, f"{CONFIG_FILE}: missing, so this is not a PEFT folder"),
        (not_json, f"{CONFIG_FILE}: not valid JSON"),
    ],
)
def test_refused_by_name(
    tmp_path: Path,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("precious").touch()
    folder = peft_folder(tmp_path / "a")
    damage(folder)
    with pytest.raises(SpecialistError, match=message) as caught:
        import_specialist(folder, "a", tiny_folder)
    # One line, that names the user's folder and no other.
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert Path("precious").exists()


# --- out ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def expert(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Specialist:
    """Ranks, scales and layers that differ, so that a mixed-up one is seen."""
    folder = peft_folder(
        tmp_path_factory.mktemp("expert") / "law",
        target_modules=["query", "value", "intermediate.dense"],
        rank_pattern={"value": 2},
        alpha_pattern={"query": 3},
    )
    return import_specialist(folder, "law", tiny_folder)


def adapted(backbone: Backbone, specialist: Specialist) -> Any:
    backbone.add_adapter("it", specialist.adapter)
    try:
        return backbone.encode(TEXTS, "it")
    finally:
        backbone.remove_adapter("it")


def test_exported_for_peft(
    tmp_path: Path, expert: Specialist, tiny: Backbone, tiny_folder: Path
) -> None:
    from peft import PeftModel

    export_peft(expert, tmp_path / "deep" / "out")
    assert sorted(contents(tmp_path)) == [
        f"deep/out/{name}" for name in (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE)
    ]
    model = PeftModel.from_pretrained(tiny_model(), str(tmp_path / "deep" / "out")).eval()
    with torch.inference_mode():
        for text, ours in zip(TEXTS, adapted(tiny, expert), strict=True):
            ids = tiny.tokenizer(text, return_tensors="pt", truncation=True, max_length=128)
            states = model(input_ids=ids["input_ids"]).last_hidden_state
            theirs = nn.functional.normalize(states.mean(1), dim=-1)[0].numpy()
            assert np.abs(ours - theirs).max() < 1e-5
    assert np.abs(adapted(tiny, expert) - tiny.encode(TEXTS)).max() > 0.05
    # And the way back.
    again = import_specialist(tmp_path / "deep" / "out", "law", tiny_folder)
    assert_alike(our_deltas(again.adapter), our_deltas(expert.adapter))


BASES: dict[str, Callable[[Path], Path]] = {
    "plain": lambda folder: write_tiny(folder),
    "mean": lambda folder: write_sentence_transformer(folder, {"pooling_mode_mean_tokens": True}),
    "cls": lambda folder: write_sentence_transformer(
        folder, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    ),
    "dense": lambda folder: write_sentence_transformer(
        folder, {"pooling_mode_mean_tokens": True}, dense=16
    ),
    "normalised": lambda folder: write_sentence_transformer(
        folder, {"pooling_mode_mean_tokens": True}, extra_modules=["Normalize"]
    ),
}


def on(specialist: Specialist, backbone: Backbone) -> Specialist:
    """The same adapter, said to be made on another base of the same shape."""
    return replace(specialist, base_sha256=backbone.identity.sha256)


@pytest.mark.parametrize("kind", BASES)
def test_exported_for_sentence_transformers(tmp_path: Path, expert: Specialist, kind: str) -> None:
    from sentence_transformers import SentenceTransformer

    base = BASES[kind](tmp_path / "tiny")
    backbone = Backbone.load(base, device="cpu", dtype="fp32")
    before = contents(base)
    export_sentence_transformers(on(expert, backbone), tmp_path / "out", base)
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    theirs = model.encode(TEXTS, normalize_embeddings=True)
    assert (theirs * adapted(backbone, expert)).sum(-1).min() >= 0.9999
    assert (theirs * backbone.encode(TEXTS)).sum(-1).min() < 0.99
    assert contents(base) == before
    # What was exported is an encoder like any other, and all that is not adapted is as it was.
    again = Backbone.load(tmp_path / "out", device="cpu", dtype="fp32")
    assert (again.encode(TEXTS) * theirs).sum(-1).min() >= 0.9999
    assert again.identity.max_length == backbone.identity.max_length
    old, new = load_file(base / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert old.keys() == new.keys()
    changed = {key.removesuffix(".weight") for key in old if not torch.equal(old[key], new[key])}
    assert changed == set(expert.adapter.layers)


def test_weights_in_a_pickle_under_another_models_prefix(
    tmp_path: Path, expert: Specialist
) -> None:
    base = write_sentence_transformer(tmp_path / "tiny", {"pooling_mode_mean_tokens": True})
    tensors = load_file(base / "model.safetensors")
    torch.save({f"bert.{key}": value for key, value in tensors.items()}, base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    backbone = Backbone.load(base, device="cpu", dtype="fp32")
    export_sentence_transformers(on(expert, backbone), tmp_path / "out", base)
    again = Backbone.load(tmp_path / "out", device="cpu", dtype="fp32")
    assert (again.encode(TEXTS) * adapted(backbone, expert)).sum(-1).min() >= 0.9999


def test_a_head_does_not_fit_a_sentence_encoder(tmp_path: Path, expert: Specialist) -> None:
    reader = replace(expert, kind="reader", head={"weight": torch.ones(2, 32)})
    with pytest.raises(SpecialistError, match="law is a reader: its head has no place"):
        export_sentence_transformers(reader, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_wrong_base_is_not_merged_into(tmp_path: Path, expert: Specialist) -> None:
    with pytest.raises(BackboneMismatchError, match="name the right one with --backbone"):
        export_sentence_transformers(expert, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["file", "folder"])
def test_nothing_is_replaced(
    tmp_path: Path, expert: Specialist, tiny_folder: Path, there: str
) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    before = contents(tmp_path)
    for export in (
        lambda: export_peft(expert, out),
        lambda: export_sentence_transformers(expert, out, tiny_folder),
    ):
        with pytest.raises(InputError, match="is there already, and is not replaced"):
            export()
        assert contents(tmp_path) == before


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, expert: Specialist) -> None:
    base = write_sentence_transformer(tmp_path / "tiny", {"pooling_mode_mean_tokens": True})
    tensors = load_file(base / "model.safetensors")
    layer = next(iter(expert.adapter.layers))
    tensors["another.name"] = tensors.pop(f"{layer}.weight")
    save_file(tensors, base / "model.safetensors")
    expert = replace(expert, base_sha256=locate(base).sha256)
    with pytest.raises(ModelError, match=f"{layer} is not in its weight files"):
        export_sentence_transformers(expert, tmp_path / "out", base)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


# --- the shelf ------------------------------------------------------------------------------------


def test_finding_them(tmp_path: Path, expert: Specialist) -> None:
    for name in ("b", "a", "damaged", "undescribed"):
        save_specialist(expert, tmp_path / name)
    flip_byte(tmp_path / "damaged" / WEIGHTS_FILE)
    (tmp_path / "undescribed" / SPECIALIST_FILE).unlink()
    shutil.copytree(tmp_path / "a", tmp_path / ".a-retired")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").touch()
    found = find(tmp_path)
    assert [each.folder.name for each in found] == ["a", "b", "damaged", "undescribed"]
    assert [bool(each.fault) for each in found] == [False, False, True, True]
    assert f"{WEIGHTS_FILE}: corrupt" in found[2].fault
    assert "not a specialist" in found[3].fault
    assert [each.folder for each in find(tmp_path / "a")] == [tmp_path / "a"]
    with pytest.raises(InputError, match=r"notes\.txt: no such directory"):
        find(tmp_path / "notes.txt")


def test_verifying_lists_every_file(tmp_path: Path, expert: Specialist, tiny_folder: Path) -> None:
    folder, base = tmp_path / "a", locate(tiny_folder)
    save_specialist(expert, folder)
    result = verify(folder, base)
    assert result.fine
    assert {f.part for f in result.findings} == {*contents(folder), "contents", "base"}
    (folder / "extra.txt").touch()
    assert verify(folder, base).fine
    flip_byte(folder / WEIGHTS_FILE)
    (folder / HEAD_FILE).unlink()
    result = verify(folder, base)
    assert {f.part for f in result.findings if not f.fine} == {WEIGHTS_FILE, HEAD_FILE}
    assert [f.said for f in result.findings if f.part == HEAD_FILE] == ["missing"]


def test_verifying_sees_what_no_hash_covers(
    tmp_path: Path, expert: Specialist, tiny_folder: Path
) -> None:
    folder = tmp_path / "a"
    save_specialist(expert, folder)
    other = verify(folder, locate())
    assert [f.part for f in other.findings if not f.fine] == ["base"]
    for damage in (not_json, no_config, configured(use_dora=True)):
        shutil.copytree(folder, tmp_path / "b")
        damage(tmp_path / "b")
        assert not verify(tmp_path / "b", locate(tiny_folder)).fine
        shutil.rmtree(tmp_path / "b")
    (folder / SPECIALIST_FILE).write_text("[1]")
    assert not verify(folder, locate(tiny_folder)).fine


def test_by_name_or_by_path(tmp_path: Path, expert: Specialist) -> None:
    shipped = tmp_path / "shipped"
    save_specialist(expert, shipped / "law")
    assert named("law", shipped) == shipped / "law"
    assert named(str(shipped / "law"), tmp_path) == shipped / "law"
    with pytest.raises(SpecialistError, match=r"lwa: no such directory.*\(these do: law\)"):
        named("lwa", shipped)
    with pytest.raises(SpecialistError, match="not a specialist"):
        named(str(shipped), shipped)


# --- cards ----------------------------------------------------------------------------------------


def test_extent(expert: Specialist) -> None:
    extent = Extent.of(expert.adapter)
    assert extent == Extent(ranks=(2, 4), linear=6, layers=(0, 1))
    assert str(extent) == "rank 2, 4, 6 linear maps, layers 0–1"
    pair = LowRank(torch.ones(8, 2), torch.ones(2, 8), 1.0)
    assert str(Extent.of(LoraAdapter({"proj": pair}))) == "rank 8, 1 linear maps"


CARD = """# reader

| train part | questions | licence |
|---|---|---|
| a | 1 | CC BY-SA 4.0 |
| b | 2 | Apache-2.0 |
| c | 3 | CC BY-SA 4.0 |

| other | licence fee |
|---|---|
| 1 | 2 |
"""


def test_licences_and_front_matter(expert: Specialist) -> None:
    shipped = replace(expert, training={}, base_sha256=DEFAULT_SHA256, kind="reader")
    two = replace(shipped, card=CARD)
    assert licences(two) == ("CC BY-SA 4.0", "Apache-2.0")
    said = read_front_matter(front_matter(two) + two.card)
    assert said == {
        "library_name": "peft",
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "tags": ["pointsman", "lora", "reader"],
    }
    one = replace(shipped, card=CARD.replace("Apache-2.0", "CC BY-SA 4.0"))
    assert read_front_matter(front_matter(one))["license"] == "cc-by-sa-4.0"
    # A licence that the hub does not know would make it refuse the card.
    own = replace(shipped, training={"licences": {"a": "given by the user"}})
    assert "license" not in read_front_matter(front_matter(own))
    assert without_front_matter(front_matter(one) + CARD) == CARD
    assert without_front_matter(CARD) == CARD
    assert read_front_matter("---\na: [\n---\n") == {}


def test_the_card_of_one_that_was_trained_here(expert: Specialist) -> None:
    trained = replace(
        expert,
        training={"command": "pointsman train encoder"},
        numbers={"dev": {"best": 41.25, "measure": "nDCG@10"}},
    )
    card = encoder_card(trained)
    assert "    pointsman train encoder\n" in card
    assert "Best nDCG@10 on dev: 41.25." in card
    assert main_number({"dev": "none"}) is None
