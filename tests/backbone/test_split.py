"""Cutting a model in two, on every family of encoders that it says it can cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from families import FAMILIES, SIZES
from pointsman.backbone.split import SplitModel
from pointsman.errors import ConfigError, ModelError

IDS = torch.tensor([[2, 5, 6, 7, 8, 9, 10, 3], [2, 11, 12, 3, 1, 1, 1, 1]])
MASK = (IDS != 1).long()


def model(family: str, **more: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        **{**SIZES, **FAMILIES.get(family, {}), **more}
    )
    return getattr(transformers, f"{family}Model")(config).eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_the_upper_part_takes_up_where_the_lower_stopped(family: str, layers: int) -> None:
    base = model(family)
    split = SplitModel(base)
    assert split.layers == 3
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    with torch.inference_mode():
        whole = base(**inputs).last_hidden_state
        states = split.lower(inputs, layers)
        found = split.upper(states, MASK, layers)
        again = base(**inputs).last_hidden_state
    assert torch.allclose(found[MASK.bool()], whole[MASK.bool()], atol=1e-5)
    assert torch.equal(again, whole)  # the model is whole again
    if layers:
        assert not torch.allclose(states, split.lower(inputs, 0), atol=1e-3)


def test_gradients_reach_the_upper_part() -> None:
    base = model("Bert")
    split = SplitModel(base)
    with torch.no_grad():
        states = split.lower({"input_ids": IDS, "attention_mask": MASK}, 2)
    split.upper(states, MASK, 2).sum().backward()
    assert base.encoder.layer[2].output.dense.weight.grad is not None
    assert base.encoder.layer[1].output.dense.weight.grad is None


def test_layer_of_a_module() -> None:
    split = SplitModel(model("Bert"))
    assert split.layer_of("encoder.layer.2.attention.self.query") == 2
    assert split.layer_of("embeddings.word_embeddings") == -1
    assert split.layer_of("pooler.dense") == 3


def test_a_model_of_one_layer_used_again_and_again_is_refused() -> None:
    base = model("Albert", embedding_size=16)
    split = SplitModel(base)
    assert split.layers == 0
    with pytest.raises(ModelError, match="AlbertModel cannot be cut between its layers"):
        split.lower({"input_ids": IDS, "attention_mask": MASK}, 1)


def test_more_layers_than_there_are() -> None:
    with pytest.raises(ConfigError, match="4 lower layers of a model that has 3"):
        SplitModel(model("Bert")).lower({"input_ids": IDS, "attention_mask": MASK}, 4)
