"""Products in 8-bit integers: near, for inference only, with adapters in full precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.int8 import Int8Linear, quantise
from pointsman.backbone.lora import LoraAdapter, LowRank
from pointsman.errors import ConfigError

pytestmark = pytest.mark.skipif(
    torch.backends.quantized.engine not in ("x86", "fbgemm", "onednn"), reason="no int8 here"
)
TEXTS = ["The bridge was built of iron.", "Who designed it?", "", "A model of 1779."]


def test_by_hand_where_eight_bits_suffice() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[127.0, -127.0], [0.5, 0.0]]))
        layer.bias.copy_(torch.tensor([1.0, 2.0]))
    quantise(nn.Sequential(layer))
    # Inputs from 0 to 255 are their own 8-bit numbers. 127·255 - 127·3 + 1, and 0.5·255 + 2.
    given = torch.tensor([[255.0, 3.0], [0.0, 0.0]])
    with torch.inference_mode():
        found = layer(given)
    assert found[0].tolist() == pytest.approx([32005.0, 129.5], rel=0.01)
    assert found[1].tolist() == pytest.approx([1.0, 2.0])


def test_a_channel_of_zeros_stays_zero_and_scales_are_a_channels_own() -> None:
    layer = nn.Linear(16, 3, bias=False)
    with torch.no_grad():
        layer.weight[0] = 0
        layer.weight[1] *= 1000
    plain = layer.weight.detach().clone()
    quantise(nn.Sequential(layer))
    x = torch.rand(5, 16)
    with torch.inference_mode():
        found = layer(x)
    expected = x @ plain.T
    assert (found[:, 0] == 0).all()
    # With one scale for all channels the third would be lost in the second's rounding.
    for channel in (1, 2):
        error = (found - expected)[:, channel].abs().max() / expected[:, channel].abs().max()
        assert error < 0.05


def test_gradients_see_the_weights_themselves() -> None:
    layer = nn.Linear(4, 2)
    quantise(nn.Sequential(layer))
    assert isinstance(layer, Int8Linear)
    x = torch.randn(3, 4, requires_grad=True)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_the_default_in_int8_is_near_itself(default: Backbone) -> None:
    quick = Backbone.load(device="cpu", dtype="int8")
    assert quick.identity == default.identity
    assert quick.dtype == torch.float32
    cosine = (quick.encode(TEXTS) * default.encode(TEXTS)).sum(1)
    assert cosine.min() > 0.97
    assert not np.allclose(cosine, 1, atol=1e-6)  # it is another computation


def test_adapters_add_in_full_precision(tiny_folder: Path, tiny: Backbone) -> None:
    quick = Backbone.load(tiny_folder, device="cpu", dtype="int8")
    name = "encoder.layer.1.output.dense"
    linear = tiny.model.get_submodule(name)
    assert isinstance(linear, nn.Linear)
    generator = torch.Generator().manual_seed(0)
    pair = LowRank(
        torch.randn(2, linear.in_features, generator=generator),
        torch.randn(linear.out_features, 2, generator=generator),
        1.0,
    )
    texts = ["alpha beta", "what is the colour of gamma"]
    for backbone in (tiny, quick):
        backbone.add_adapter("one", LoraAdapter({name: pair}))
    try:
        change = tiny.encode(texts, "one") - tiny.encode(texts)
        quick_change = quick.encode(texts, "one") - quick.encode(texts)
        assert np.abs(change).max() > 0.1
        assert np.abs(change - quick_change).max() < 0.1 * np.abs(change).max()
    finally:
        tiny.remove_adapter("one")


def test_where_it_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        engine = "qnnpack"

    monkeypatch.setattr(torch.backends, "quantized", Other)
    with pytest.raises(ConfigError, match="int8 needs an x86 processor"):
        quantise(nn.Linear(2, 2))
