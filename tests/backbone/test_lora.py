"""Adapters: the same numbers as PEFT's own, in both directions, and a base that stays as it was."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    LoraAdapter,
    LowRank,
    linear_layers,
    new_adapter,
    read_adapter,
    write_adapter,
)
from pointsman.errors import BackboneMismatchError, ConfigError, ModelError, SpecialistError
from tiny import VOCABULARY, tiny_model

IDS = torch.arange(5, 5 + 24).reshape(2, 12) % len(VOCABULARY)
LINEAR = ["query", "key", "value", "dense"]
LAYER = "encoder.layer.0.attention.self.query"


def peft_model(seed: int = 1, **config: Any) -> Any:
    """PEFT's own model on the tiny base, with B far from its usual zero."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny_model(), LoraConfig(**{"target_modules": LINEAR, **config}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return model.eval()


def peft_states(model: Any) -> Tensor:
    with torch.inference_mode():
        states: Tensor = model(input_ids=IDS).last_hidden_state
    return states


def our_states(backbone: Backbone, adapter: LoraAdapter | None) -> Tensor:
    with torch.inference_mode(), backbone.using(adapter):
        return backbone.forward({"input_ids": IDS})


def random_adapter(backbone: Backbone, seed: int, rank: int = 4) -> LoraAdapter:
    """Every layer adapted, B random: the vectors move far."""
    generator = torch.Generator().manual_seed(seed)
    fresh = new_adapter(backbone.model, rank, 2.0 * rank, generator)
    return LoraAdapter(
        {
            name: LowRank(pair.a, torch.randn(pair.b.shape, generator=generator) / 4, pair.scale)
            for name, pair in fresh.layers.items()
        }
    )


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8},
    "rank-stabilised": {"r": 4, "lora_alpha": 8, "use_rslora": True},
    "some layers": {"r": 3, "lora_alpha": 5, "target_modules": ["query", "intermediate.dense"]},
    "one layer": {"r": 2, "target_modules": r"encoder\.layer\.1\.attention\.self\.value"},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"query": 2, r"layer\.1\.attention\.self\.value": 6},
        "alpha_pattern": {"layer.0.attention.self.key": 32, "query": 3},
    },
    "patterns, rank-stabilised": {
        "r": 4,
        "use_rslora": True,
        "rank_pattern": {"value": 9},
        "alpha_pattern": {"value": 5, r"encoder\.layer\.1\..*": 7},
    },
    "every layer, the pooler too": {"r": 4, "target_modules": "all-linear"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_pefts_adapters_give_pefts_states(tmp_path: Path, tiny: Backbone, kind: str) -> None:
    from peft import PeftModel

    peft_model(**KINDS[kind]).save_pretrained(str(tmp_path))
    # PEFT sorts patterns when it saves, and the first that matches counts: what it loads is the truth.
    expected = peft_states(PeftModel.from_pretrained(tiny_model(), str(tmp_path)).eval())
    found = our_states(tiny, read_adapter(tmp_path))
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, our_states(tiny, None), atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_our_adapters_give_our_states_in_peft(tmp_path: Path, tiny: Backbone, kind: str) -> None:
    from peft import PeftModel

    peft_model(**KINDS[kind]).save_pretrained(str(tmp_path / "theirs"))
    adapter = read_adapter(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    write_adapter(adapter, tmp_path / "ours", "tiny", torch.float32)
    loaded = PeftModel.from_pretrained(tiny_model(), str(tmp_path / "ours")).eval()
    assert torch.allclose(peft_states(loaded), our_states(tiny, adapter), atol=1e-5)


def test_a_new_adapter_changes_nothing_and_covers_every_linear_layer(tiny: Backbone) -> None:
    adapter = new_adapter(tiny.model, 4, 8, torch.Generator().manual_seed(0))
    assert torch.equal(our_states(tiny, adapter), our_states(tiny, None))
    # A layer has six linear maps: query, key, value, output, up, down.
    assert set(adapter.layers) == set(linear_layers(tiny.model))
    assert len(adapter.layers) == 2 * 6
    # r · (in + out) each: four of 32 → 32, one of 32 → 64, one of 64 → 32.
    assert adapter.parameters == 2 * 4 * (4 * 64 + 2 * 96)
    again = new_adapter(tiny.model, 4, 8, torch.Generator().manual_seed(0))
    assert all(torch.equal(v, again.tensors()[k]) for k, v in adapter.tensors().items())


def test_round_trip_keeps_every_number(tmp_path: Path, tiny: Backbone) -> None:
    adapter = random_adapter(tiny, 3)
    write_adapter(adapter, tmp_path, "tiny", torch.float32)
    back = read_adapter(tmp_path)
    assert back.layers.keys() == adapter.layers.keys()
    for name, pair in adapter.layers.items():
        assert torch.equal(back.layers[name].a, pair.a)
        assert torch.equal(back.layers[name].b, pair.b)
        assert back.layers[name].scale == pytest.approx(pair.scale)


def test_delta_by_hand() -> None:
    pair = LowRank(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0], [0.0], [-1.0]]), 0.5)
    # A x = 1 · 3 + 2 · 4 = 11; B 11 = (11, 0, -11); halved.
    assert pair.delta(torch.tensor([3.0, 4.0])).tolist() == [5.5, 0.0, -5.5]

    onto = pair.onto(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 4.0]]))
    assert onto.tolist() == [[6.5, 2.0, -2.5]]


def test_a_delta_onto_an_output_has_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 5, 6), (2, 5, 4), (3, 4), (6, 3))
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    found = []
    for fused in (True, False):
        output, x, a, b = (each.clone().requires_grad_() for each in tensors)
        pair = LowRank(a, b, 0.7)
        made = pair.onto(output, x) if fused else output + pair.delta(x)
        (made**2).sum().backward()
        found.append([made.detach(), output.grad, x.grad, a.grad, b.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


TEXTS = ["alpha", "beta follows gamma", "", "what is the colour of red", "pi", "rho sigma tau " * 9]


@pytest.mark.parametrize(
    "names", [["one", "two", None, "one", None, "two"], ["one"] * 6, [None] * 6]
)
def test_one_adapter_a_text_equals_each_alone(tiny: Backbone, names: Sequence[str | None]) -> None:
    base = tiny.encode(TEXTS)
    tiny.add_adapter("one", random_adapter(tiny, 1))
    tiny.add_adapter("two", random_adapter(tiny, 2, rank=3))
    try:
        assert tiny.adapters == ("one", "two")
        apart = np.concatenate(
            [tiny.encode([text], name) for text, name in zip(TEXTS, names, strict=True)]
        )
        assert np.abs(tiny.encode(TEXTS, names) - apart).max() < 1e-5
        one, two = tiny.encode(TEXTS, "one"), tiny.encode(TEXTS, "two")
        assert np.abs(one - two).max() > 0.05
        assert np.abs(one - base).max() > 0.05
    finally:
        tiny.remove_adapter("one")
        tiny.remove_adapter("two")
    assert tiny.adapters == ()
    assert np.array_equal(tiny.encode(TEXTS), base)


def test_the_base_answers_as_before_while_adapters_are_loaded(tiny: Backbone) -> None:
    weights = {key: value.clone() for key, value in tiny.model.state_dict().items()}
    base = tiny.encode(TEXTS)
    tiny.add_adapter("one", random_adapter(tiny, 1))
    try:
        tiny.encode(TEXTS, "one")
        assert np.array_equal(tiny.encode(TEXTS), base)
        with pytest.raises(RuntimeError, match="on purpose"), tiny.using(random_adapter(tiny, 2)):
            raise RuntimeError("on purpose")
        assert np.array_equal(tiny.encode(TEXTS), base)
    finally:
        tiny.remove_adapter("one")
    after = tiny.model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[key], value) for key, value in weights.items())


def test_an_adapter_of_the_same_name_is_replaced(tiny: Backbone) -> None:
    tiny.add_adapter("one", random_adapter(tiny, 1))
    tiny.add_adapter("one", random_adapter(tiny, 2))
    tiny.add_adapter("two", random_adapter(tiny, 2))
    try:
        assert np.array_equal(tiny.encode(TEXTS, "one"), tiny.encode(TEXTS, "two"))
    finally:
        tiny.remove_adapter("one")
        tiny.remove_adapter("two")
    with pytest.raises(ConfigError, match="no adapter 'one' is loaded"):
        tiny.remove_adapter("one")


def test_token_states_go_through_the_adapter(tiny: Backbone) -> None:
    def states(adapter: str | None) -> Tensor:
        return next(
            iter(tiny.tokens([("alpha", "beta")], adapter, max_length=64, overlap=8))
        ).states

    tiny.add_adapter("one", random_adapter(tiny, 1))
    try:
        assert not torch.allclose(states("one"), states(None), atol=1e-2)
    finally:
        tiny.remove_adapter("one")
    with pytest.raises(ConfigError, match="no adapter 'one'"):
        states("one")


def test_another_base_is_refused_and_both_are_named(tiny: Backbone) -> None:
    adapter = random_adapter(tiny, 1)
    both = rf"base {'ab' * 6}….*{tiny.identity.name} \({tiny.identity.sha256[:12]}…\)"
    with pytest.raises(BackboneMismatchError, match=both):
        tiny.add_adapter("one", adapter, base_sha256="ab" * 32)
    assert tiny.adapters == ()


def test_layers_that_do_not_fit(tiny: Backbone) -> None:
    before = tiny.encode(TEXTS)
    unknown = LoraAdapter({"decoder.query": LowRank(torch.ones(1, 32), torch.ones(32, 1), 1)})
    with pytest.raises(ModelError, match=r"'decoder\.query', which this base does not have"):
        tiny.add_adapter("one", unknown)
    wide = LoraAdapter({LAYER: LowRank(torch.ones(1, 48), torch.ones(32, 1), 1)})
    with pytest.raises(ModelError, match=f"{LAYER} maps 48 to 32 dimensions, the base's 32 to 32"):
        tiny.add_adapter("one", wide)
    assert tiny.adapters == ()
    assert np.array_equal(tiny.encode(TEXTS), before)


@pytest.fixture
def saved(tmp_path: Path, tiny: Backbone) -> Path:
    write_adapter(random_adapter(tiny, 1), tmp_path, "tiny", torch.float32)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"peft_type": "IA3"}, "the IA3 kind of adapter"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "lora_only"}, "trained biases"),
        ({"modules_to_save": ["classifier"]}, r"fully trained modules \(modules_to_save\)"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_name(
    saved: Path, changed: dict[str, Any], message: str
) -> None:
    config = json.loads((saved / CONFIG_FILE).read_text())
    (saved / CONFIG_FILE).write_text(json.dumps({**config, **changed}))
    with pytest.raises(SpecialistError, match=message):
        read_adapter(saved)


@pytest.mark.parametrize("kind", ["dora", "bias", "saved modules"])
def test_pefts_own_other_kinds_are_refused(tmp_path: Path, kind: str) -> None:
    config: dict[str, dict[str, Any]] = {
        "dora": {"use_dora": True},
        "bias": {"bias": "all"},
        "saved modules": {"modules_to_save": ["pooler"], "target_modules": ["query"]},
    }
    peft_model(**config[kind]).save_pretrained(str(tmp_path))
    with pytest.raises(SpecialistError, match="cannot be stacked"):
        read_adapter(tmp_path)


def without_config(folder: Path) -> None:
    (folder / CONFIG_FILE).unlink()


def without_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()


def config_not_json(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text("{")


def config_not_an_object(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text("[]")


def truncated_weights(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-10])


def empty_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"")


def no_tensors(folder: Path) -> None:
    save_file({}, folder / WEIGHTS_FILE)


def half_a_pair(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    save_file({k: v for k, v in tensors.items() if "0.attention.self.query.lora_B" not in k},
              folder / WEIGHTS_FILE)  # fmt: skip


def ranks_apart(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    key = f"base_model.model.{LAYER}.lora_A.weight"
    save_file({**tensors, key: tensors[key][:2].contiguous()}, folder / WEIGHTS_FILE)


def other_tensors(folder: Path) -> None:
    save_file({"classifier.weight": torch.ones(2, 2)}, folder / WEIGHTS_FILE)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_config, rf"{CONFIG_FILE}: missing"),
        (without_weights, rf"{WEIGHTS_FILE}: missing"),
        (config_not_json, rf"{CONFIG_FILE}: not valid JSON"),
        (config_not_an_object, rf"{CONFIG_FILE}: not a PEFT configuration"),
        (truncated_weights, rf"{WEIGHTS_FILE}: corrupt"),
        (empty_weights, rf"{WEIGHTS_FILE}: corrupt"),
        (no_tensors, rf"{WEIGHTS_FILE}: no LoRA matrices"),
        (half_a_pair, rf"{LAYER} do not belong together"),
        (ranks_apart, rf"{LAYER} do not belong together"),
        (other_tensors, r"'classifier\.weight' is not a LoRA matrix"),
    ],
)
def test_damaged_folders(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(SpecialistError, match=message) as caught:
        read_adapter(saved)
    assert "\n" not in str(caught.value)
    assert re.search(re.escape(str(saved)), str(caught.value))


def test_an_adapter_of_another_width_is_refused_on_the_base(tmp_path: Path, tiny: Backbone) -> None:
    from peft import LoraConfig, get_peft_model

    wide = tiny_model(hidden_size=48)
    get_peft_model(wide, LoraConfig(target_modules=["query"])).save_pretrained(str(tmp_path / "w"))
    with pytest.raises(ModelError, match="maps 48 to 48 dimensions, the base's 32 to 32"):
        tiny.add_adapter("wide", read_adapter(tmp_path / "w"))
    shutil.rmtree(tmp_path / "w")
