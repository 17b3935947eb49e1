"""What routers look at, and queries that go through their experts in one pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.features import REFERENCE, features
from pointsman.backbone.lora import LoraAdapter, LowRank, new_adapter
from pointsman.backbone.queries import EncodedQueries, routed_vectors
from pointsman.errors import ConfigError
from pointsman.types import Routing

TEXTS = ["what follows alpha", "the colour red", "beta is here after gamma", "gold"]


def random_expert(backbone: Backbone, seed: int, from_layer: int) -> LoraAdapter:
    generator = torch.Generator().manual_seed(seed)
    fresh = new_adapter(backbone.model, 2, 4.0, generator, None, from_layer)
    return LoraAdapter(
        {
            name: LowRank(pair.a, torch.randn(pair.b.shape, generator=generator) / 2, pair.scale)
            for name, pair in fresh.layers.items()
        }
    )


@pytest.fixture
def experts(tiny: Backbone) -> Iterator[Backbone]:
    """Two experts of the upper layer, and one of both layers."""
    for seed, (name, layer) in enumerate({"one": 1, "two": 1, "deep": 0}.items()):
        tiny.add_adapter(name, random_expert(tiny, seed, layer))
    yield tiny
    for name in ("one", "two", "deep"):
        tiny.remove_adapter(name)


def test_features_by_hand() -> None:
    rows = (torch.tensor([[2.0, 1.0], [4.0, 1.0]]), torch.tensor([[0.0, 5.0]]))
    found = features(rows, torch.tensor([0.0, 1.0]))
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert features((), torch.zeros(2)).shape == (0, 2)


def test_features_are_the_centred_mean_states_of_the_lower_layers(tiny: Backbone) -> None:
    assert tiny.routing_layers == 1
    found = EncodedQueries(TEXTS, tiny).features
    reference = np.mean(
        [row.float().mean(0).numpy() for row in tiny.begin(REFERENCE, layers=1).rows], axis=0
    )
    for text, vector in zip(TEXTS, found, strict=True):
        (row,) = tiny.begin([text], layers=1).rows
        expected = row.mean(0).numpy() - reference
        assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def test_base_vectors_are_the_same_whether_features_were_looked_at(tiny: Backbone) -> None:
    plain, looked_at = EncodedQueries(TEXTS, tiny), EncodedQueries(TEXTS, tiny)
    assert looked_at.features.shape == (4, tiny.shape.width)
    assert looked_at.vectors == pytest.approx(plain.vectors, abs=1e-5)
    assert (plain.begun, looked_at.begun) == (False, True)


def routing(weights: list[list[float]], names: tuple[str, ...]) -> Routing:
    array = np.array(weights, dtype=np.float32)
    return Routing(("base", *names), array, array)


def test_one_expert_alone_is_that_expert_in_either_way(experts: Backbone) -> None:
    choice = routing([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]], ("one", "two"))
    expected = experts.encode(TEXTS, [None, "one", "two", "one"], prompt="query")
    passes = routed_vectors(experts, EncodedQueries(TEXTS, experts), choice)
    queries = EncodedQueries(TEXTS, experts)
    assert len(queries.features) == 4
    assert passes == pytest.approx(expected, abs=1e-5)
    assert routed_vectors(experts, queries, choice) == pytest.approx(expected, abs=1e-5)


def test_a_mixture_after_features_is_one_pass_of_mixed_changes(experts: Backbone) -> None:
    mixture = routing([[0.5, 0.25, 0.25]] * 4, ("one", "two"))
    queries = EncodedQueries(TEXTS, experts)
    assert len(queries.features) == 4
    expected = experts.encode_mixture(TEXTS, ["one", "two"], mixture.weights[:, 1:], prompt="query")
    assert routed_vectors(experts, queries, mixture) == pytest.approx(expected, abs=1e-5)


def test_an_expert_of_the_lower_layers_has_a_pass_of_its_own(experts: Backbone) -> None:
    mixture = routing([[0.5, 0.5]] * 4, ("deep",))
    queries = EncodedQueries(TEXTS, experts)
    assert len(queries.features) == 4
    both = 0.5 * experts.encode(TEXTS) + 0.5 * experts.encode(TEXTS, "deep")
    expected = both / np.linalg.norm(both, axis=1, keepdims=True)
    assert routed_vectors(experts, queries, mixture) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ConfigError, match="changes layer 0, but 1 lower layers are done"):
        experts.finish_mixture(queries.states, ["deep"], mixture.weights[:, 1:])


def test_weights_for_each_text(experts: Backbone) -> None:
    states = experts.begin(TEXTS, layers=1)
    with pytest.raises(ConfigError, match="1 rows of weights for 4 texts"):
        experts.finish_mixture(states, ["one"], np.ones((1, 1), dtype=np.float32))


def test_an_encoder_without_layers_has_no_features(tiny: Backbone) -> None:
    class Remote:
        identity = tiny.identity

        def encode(self, texts: list[str], adapter: object = None, **_: object) -> np.ndarray:
            return tiny.encode(texts)

    queries = EncodedQueries(TEXTS, Remote())  # type: ignore[arg-type]
    assert queries.vectors.shape == (4, tiny.identity.dimension)
    with pytest.raises(ConfigError, match="Remote shows no states of its lower layers"):
        _ = queries.features


def test_an_adapter_from_a_layer_on(tiny: Backbone) -> None:
    names = new_adapter(tiny.model, 2, 4.0, from_layer=1).layers
    assert names
    assert all("layer.1." in name for name in names)
