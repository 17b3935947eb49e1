"""Pairs whose lower layers are run once are read and learned from as ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter
from pointsman.errors import ConfigError
from tiny import write_tiny

PAIRS = [("what is alpha", "here comes red"), ("who", "blue " * 9), ("where is beta", "alpha")]


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return Backbone.load(write_tiny(tmp_path), device="cpu", dtype="fp32", attention="eager")


def random_adapter(backbone: Backbone, from_layer: int) -> LoraAdapter:
    generator = torch.Generator().manual_seed(3)
    fresh = new_adapter(backbone.model, 4, 8.0, generator, from_layer=from_layer)
    filled = {k: torch.randn(v.shape, generator=generator) for k, v in fresh.tensors().items()}
    return fresh.with_tensors(filled)


def states(backbone: Backbone, adapter: str | None) -> dict[int, np.ndarray]:
    return {
        window.pair: state[: len(window)].numpy()
        for batch in backbone.tokens(PAIRS, adapter, overlap=16)
        for window, state in zip(batch.windows, batch.states, strict=True)
    }


def test_states_are_the_same_and_each_pair_is_run_through_the_lower_layers_once(
    backbone: Backbone,
) -> None:
    layers = backbone.shape.layers - 1
    backbone.add_adapter("upper", random_adapter(backbone, layers))
    wanted = [states(backbone, name) for name in (None, "upper")]
    assert np.abs(wanted[0][0] - wanted[1][0]).max() > 0.01
    with backbone.keeping_pairs(layers) as kept:
        first = [states(backbone, name) for name in (None, "upper")]
        assert len(kept) == len(PAIRS)
        kept._lower = None  # type: ignore[assignment]  # whatever is asked now is there already
        again = [states(backbone, name) for name in (None, "upper")]
    for found in (first, again):
        for one, other in zip(found, wanted, strict=True):
            assert one.keys() == other.keys()
            for pair in one:
                np.testing.assert_allclose(one[pair], other[pair], atol=1e-5)


def test_gradients_flow_through_what_was_kept_while_reading(backbone: Backbone) -> None:
    layers = backbone.shape.layers - 1
    adapter = random_adapter(backbone, layers)
    windows = backbone.windows(PAIRS, overlap=16)

    def gradients() -> dict[str, torch.Tensor]:
        parameters = adapter.trainable()
        with backbone.using(adapter.with_tensors(parameters)):
            found, mask = backbone.pair_states(windows)
        (found.square() * mask.unsqueeze(-1)).sum().backward()
        return {name: p.grad for name, p in parameters.items() if p.grad is not None}

    wanted = gradients()
    with backbone.keeping_pairs(layers):
        states(backbone, None)
        found = gradients()
    assert wanted
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_an_adapter_that_changes_what_is_kept_is_refused(backbone: Backbone) -> None:
    adapter = random_adapter(backbone, 0)
    backbone.add_adapter("all", adapter)
    with backbone.keeping_pairs(1):
        with pytest.raises(ConfigError, match="adapter 'all' changes layer 0, but 1 lower layers"):
            list(backbone.tokens(PAIRS, "all", overlap=16))
        with pytest.raises(ConfigError, match="the adapter changes layer 0"):
            backbone.using(adapter)
    backbone.using(adapter)
