"""The adapter bank: every row through its own adapter, with PEFT's own numbers as the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pointsman.backbone.bank import AdapterBank, shared_inputs
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, linear_layers, read_adapter
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError, ModelError
from pointsman.types import FloatArray
from tiny import VOCABULARY, WIDTH, tiny_model

ROWS = 9
IDS = torch.arange(3, 3 + ROWS * 7).reshape(ROWS, 7) % len(VOCABULARY)
MASK = (torch.arange(7) < torch.tensor([7, 3, 5, 7, 1, 6, 2, 7, 4])[:, None]).long()

# Different ranks, targets and scales; the pooler too.
ADAPTERS: dict[str, dict[str, Any]] = {
    "wide": {"r": 6, "lora_alpha": 8, "target_modules": ["query", "key", "value", "dense"]},
    "narrow": {"r": 2, "lora_alpha": 7, "target_modules": ["query", "value"]},
    "stabilised": {"r": 4, "use_rslora": True, "target_modules": ["key", "intermediate.dense"]},
    "upper": {
        "r": 3,
        "target_modules": r"encoder\.layer\.1\.(attention\.self\.value|output\.dense)",
    },
    "patterns": {"r": 4, "target_modules": "all-linear", "rank_pattern": {"query": 1, "key": 5}},
}


def states(model: Any, rows: slice | list[int] = slice(None)) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(input_ids=IDS[rows], attention_mask=MASK[rows]).last_hidden_state
    return found


@pytest.fixture(scope="module")
def pefts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[LoraAdapter, Tensor]]:
    """Each adapter as we read it, and the states that PEFT's own model gives for all rows."""
    from peft import LoraConfig, PeftModel, get_peft_model

    found = {}
    for seed, (name, config) in enumerate(ADAPTERS.items()):
        folder = tmp_path_factory.mktemp(name)
        model = get_peft_model(tiny_model(), LoraConfig(**config))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
        model.save_pretrained(str(folder))
        loaded = PeftModel.from_pretrained(tiny_model(), str(folder)).eval()
        found[name] = (read_adapter(folder), states(loaded))
    return found


@pytest.fixture
def base() -> Any:
    return tiny_model().eval()


def test_a_mixed_batch_gives_each_rows_own_states_as_peft_does(
    base: Any, pefts: dict[str, tuple[LoraAdapter, Tensor]]
) -> None:
    bank = AdapterBank(base)
    plain = states(base)
    for name, (adapter, _) in pefts.items():
        bank.add(name, adapter)
    names = ["wide", None, "narrow", "upper", "wide", "stabilised", "patterns", None, "narrow"]
    with bank.rows(names):
        found = states(base)
    for row, name in enumerate(names):
        real = MASK[row].bool()
        expected = plain if name is None else pefts[name][1]
        assert torch.allclose(found[row][real], expected[row][real], atol=1e-5), name
        if name is not None:
            assert not torch.allclose(found[row][real], plain[row][real], atol=1e-2)
    assert torch.equal(states(base), plain)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_batch_of_one_adapter(
    base: Any, pefts: dict[str, tuple[LoraAdapter, Tensor]], name: str
) -> None:
    bank = AdapterBank(base)
    for other, (adapter, _) in pefts.items():
        bank.add(other, adapter)
    with bank.rows([name] * ROWS):
        found = states(base)
    # Three in a million of the largest value; the order of summation differs between processors.
    assert torch.allclose(found[MASK.bool()], pefts[name][1][MASK.bool()], atol=5e-5)


def random_lora(base: Any, layers: list[str], rank: int, seed: int) -> LoraAdapter:
    generator = torch.Generator().manual_seed(seed)
    linear = linear_layers(base)
    return LoraAdapter(
        {
            name: LowRank(
                torch.randn(rank, linear[name].in_features, generator=generator) / 4,
                torch.randn(linear[name].out_features, rank, generator=generator) / 4,
                0.5 + seed % 3,
            )
            for name in layers
        }
    )


BASE = tiny_model().eval()
PLAIN = states(BASE)
LAYERS = sorted(linear_layers(BASE))
BANK = AdapterBank(BASE)
# One adapter in a bank that came later takes the path of a plain product.
ALONE = AdapterBank(BASE)

step = st.tuples(
    st.sampled_from(["add", "remove"]),
    st.sampled_from("abcde"),
    st.lists(st.sampled_from(LAYERS), min_size=1, max_size=4, unique=True),
    st.integers(1, 5),
    st.integers(0, 1000),
)


def summed(weights: Tensor, names: list[str], pefts: Any) -> LoraAdapter:
    """One adapter whose change is the weighted sum of several: their ranks side by side."""
    layers: dict[str, LowRank] = {}
    for layer in {layer for name in names for layer in pefts[name][0].layers}:
        pairs = [
            (weight, pefts[name][0].layers[layer])
            for weight, name in zip(weights.tolist(), names, strict=True)
            if layer in pefts[name][0].layers
        ]
        layers[layer] = LowRank(
            torch.cat([pair.a for _, pair in pairs]),
            torch.cat([weight * pair.scale * pair.b for weight, pair in pairs], dim=1),
            1.0,
        )
    return LoraAdapter(layers)


def test_a_mixture_is_the_weighted_sum_of_the_changes(
    base: Any, pefts: dict[str, tuple[LoraAdapter, Tensor]]
) -> None:
    """Each row against a single adapter that has the others' matrices side by side."""
    bank, names = AdapterBank(base), ["wide", "upper", "patterns"]
    for name in pefts:
        bank.add(name, pefts[name][0])
    weights = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(0))
    weights[0], weights[1] = 0.0, torch.tensor([0.0, 0.0, 1.0])
    with bank.mixtures(names, weights):
        mixed = states(base)
    with bank.rows([None] * ROWS):
        assert (mixed[0] - states(base)[0]).abs().max() < 1e-5
    assert (mixed[1] - pefts["patterns"][1][1]).abs().max() < 1e-5
    for row in range(2, ROWS):
        with bank.training(summed(weights[row], names, pefts)), torch.inference_mode():
            alone = states(base, [row])[0]
        assert (mixed[row] - alone)[: MASK[row].sum()].abs().max() < 1e-5


def test_a_mixture_of_unknown_adapters_or_other_weights(base: Any, pefts: Any) -> None:
    bank = AdapterBank(base)
    bank.add("wide", pefts["wide"][0])
    with (
        pytest.raises(ConfigError, match="no adapter 'gone'"),
        bank.mixtures(["gone"], MASK[:, :1]),
    ):
        pass
    with pytest.raises(ConfigError, match="one column for each"), bank.mixtures(["wide"], MASK):
        pass
    with bank.mixtures([], torch.zeros(ROWS, 0)):
        nothing = states(base)
    with bank.rows([None] * ROWS):
        assert torch.equal(nothing, states(base))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(step, max_size=8), st.lists(st.sampled_from("abcde0"), min_size=ROWS, max_size=ROWS)
)
def test_coming_and_going_leaves_every_adapter_what_it_was(
    steps: list[tuple[str, str, list[str], int, int]], wanted: list[str]
) -> None:
    expected: dict[str, LoraAdapter] = {}
    try:
        for what, name, layers, rank, seed in steps:
            if what == "add":
                expected[name] = random_lora(BASE, layers, rank, seed)
                BANK.add(name, expected[name])
            elif name in expected:
                BANK.remove(name)
                del expected[name]
        assert set(BANK.names) == set(expected)
        names = [name if name in expected else None for name in wanted]
        with BANK.rows(names):
            found = states(BASE)
        for row, given_name in enumerate(names):
            if given_name is None:
                alone = PLAIN[[row]]
            else:
                with ALONE.training(expected[given_name]):
                    alone = states(BASE, [row])
            # A row alone and a row among others round differently; a wrong adapter is off by 0.1.
            assert torch.allclose(found[row], alone[0], atol=2e-4)
    finally:
        for name in BANK.names:
            BANK.remove(name)


def test_a_layer_that_comes_with_a_reused_slot_has_room_for_the_higher_ones(base: Any) -> None:
    bank = AdapterBank(base)
    old, new = ([f"encoder.layer.0.{name}.dense"] for name in ("intermediate", "attention.output"))
    for name in ("gone", "stays"):
        bank.add(name, random_lora(base, old, 2, 0))
    bank.remove("gone")
    bank.add("comes", random_lora(base, new, 2, 1))
    with bank.rows(["stays", "comes", None]):
        mixed = states(base, [0, 1, 2])
    with bank.rows(["stays"]):
        assert torch.allclose(mixed[0], states(base, [0])[0], atol=2e-4)
    with bank.rows(["comes"]):
        assert torch.allclose(mixed[1], states(base, [1])[0], atol=2e-4)


def test_a_thousand_adapters_take_the_memory_of_their_weights(base: Any) -> None:
    bank = AdapterBank(base)
    layers = ["encoder.layer.0.attention.self.query", "encoder.layer.0.attention.self.value"]
    one = random_lora(base, layers, 2, 0)
    for i in range(1000):
        bank.add(str(i), one)
    weights = 1000 * one.parameters * 4
    assert weights < bank.nbytes < 2.1 * weights
    for i in range(1000):
        bank.remove(str(i))
    for i in range(1000):
        bank.add(f"again {i}", one)
    assert bank.nbytes < 2.1 * weights  # the room of those that went is used again


def test_projections_that_share_an_input_are_found(base: Any) -> None:
    linear = {n: m for n, m in base.named_modules() if isinstance(m, torch.nn.Linear)}
    groups = set(shared_inputs(base, linear).values())
    of_layer = "encoder.layer.{}.attention.self."
    for layer in (0, 1):
        at = of_layer.format(layer)
        assert (f"{at}query", f"{at}key", f"{at}value") in groups
    assert all(len(group) in (1, 3) for group in groups)


def test_an_adapter_that_does_not_fit_leaves_the_bank_as_it_was(base: Any) -> None:
    bank = AdapterBank(base)
    good = random_lora(base, [LAYERS[0]], 2, 0)
    bank.add("good", good)
    with bank.rows(["good"] * ROWS):
        before = states(base)
    pair = good.layers[LAYERS[0]]
    wide = LoraAdapter({LAYERS[0]: LowRank(torch.zeros(2, WIDTH + 1), pair.b, 1.0)})
    with pytest.raises(ModelError, match=r"33 to .* the base's 32"):
        bank.add("good", wide)
    with pytest.raises(ModelError, match=r"'nowhere', which this base does not have"):
        bank.add("good", LoraAdapter({"nowhere": pair}))
    with bank.rows(["good"] * ROWS):
        assert torch.equal(states(base), before)


def test_unknown_names(base: Any) -> None:
    bank = AdapterBank(base)
    bank.add("law", random_lora(base, [LAYERS[0]], 2, 0))
    with pytest.raises(ConfigError, match=r"no adapter 'medicine' is loaded \(loaded: law\)"):
        bank.remove("medicine")
    with pytest.raises(ConfigError, match="medicine"), bank.rows(["law", "medicine"]):
        pass


# ---- through the backbone

TEXTS = ["alpha", "beta follows gamma", "", "what is the colour of red", "pi", "rho sigma tau " * 9]


@pytest.fixture
def loaded(tiny: Backbone) -> Iterator[Backbone]:
    upper = [name for name in LAYERS if ".layer.1." in name]
    tiny.add_adapter("all", random_lora(tiny.model, LAYERS, 3, 1))
    tiny.add_adapter("upper", random_lora(tiny.model, upper, 2, 2))
    yield tiny
    for name in tiny.adapters:
        tiny.remove_adapter(name)


def test_texts_of_different_adapters_share_batches(loaded: Backbone) -> None:
    names = ["all", None, "upper", "all", "upper", None]
    found = loaded.encode(TEXTS, names)
    for name in set(names):
        rows = [i for i, each in enumerate(names) if each == name]
        alone = loaded.encode([TEXTS[i] for i in rows], name)
        assert np.allclose(found[rows], alone, atol=1e-5)


def test_pairs_of_different_adapters_share_batches(loaded: Backbone) -> None:
    pairs = [("what is pi", text) for text in TEXTS if text]
    names = ["all", None, "upper", "all", None]

    def by_pair(adapter: Any) -> dict[int, Tensor]:
        found = {}
        for batch in loaded.tokens(pairs, adapter, max_length=128, overlap=16):
            for row, window in enumerate(batch.windows):
                found[window.pair] = batch.states[row, : len(window)]
        return found

    mixed = by_pair(names)
    for name in ("all", "upper", None):
        alone = by_pair(name)
        for i, each in enumerate(names):
            if each == name:
                assert torch.allclose(mixed[i], alone[i], atol=1e-4)
    with pytest.raises(ConfigError, match="2 adapter names for 5 pairs"):
        next(loaded.tokens(pairs, ["all", None]))


def test_finishing_what_was_begun_is_encoding(loaded: Backbone) -> None:
    loaded.remove_adapter("all")
    assert loaded.shared_layers == 1
    begun = loaded.begin(TEXTS)
    assert begun.layers == 1
    names = ["upper", None, "upper", None, None, "upper"]
    assert np.allclose(loaded.finish(begun, names), loaded.encode(TEXTS, names), atol=1e-5)
    # The same states serve again, for another choice.
    assert np.allclose(loaded.finish(begun), loaded.encode(TEXTS), atol=1e-5)


def test_nothing_is_shared_with_an_adapter_of_the_lowest_layer(loaded: Backbone) -> None:
    assert loaded.shared_layers == 0
    assert loaded.lowest_layer("upper") == 1
    begun = loaded.begin(TEXTS, layers=1)
    with pytest.raises(ConfigError, match="'all' changes layer 0, but 1 lower layers are done"):
        loaded.finish(begun, "all")
    everything = loaded.begin(TEXTS, layers=0)
    assert np.allclose(loaded.finish(everything, "all"), loaded.encode(TEXTS, "all"), atol=1e-5)


def test_texts_through_mixtures(loaded: Backbone) -> None:
    names = list(loaded.adapters)[:2]
    texts = ["what follows alpha", "the colour red", "beta is here after gamma"] * 5
    weights = np.zeros((len(texts), 2), dtype=np.float32)
    weights[0::3, 0], weights[1::3, 1] = 1.0, 1.0
    chosen = [names[0] if i % 3 == 0 else names[1] if i % 3 == 1 else None for i in range(15)]
    found = loaded.encode_mixture(texts, names, weights)
    assert np.abs(found - loaded.encode(texts, chosen)).max() < 1e-5
    with pytest.raises(ConfigError, match="14 rows of weights for 15 texts"):
        loaded.encode_mixture(texts, names, weights[:-1])


def four_ways(loaded: Backbone, names: Sequence[str | None]) -> list[Callable[..., FloatArray]]:
    """Every method that gives vectors, of TEXTS through one adapter each."""
    both = ["all", "upper"]
    weights = np.array([[name == each for each in both] for name in names], dtype=np.float32)
    begun = loaded.begin(TEXTS, layers=0)
    return [
        partial(loaded.encode, TEXTS, names),
        partial(loaded.encode_mixture, TEXTS, both, weights),
        partial(loaded.finish, begun, names),
        partial(loaded.finish_mixture, begun, both, weights),
    ]


@pytest.mark.parametrize("tokens", [1, 16, 4096])
def test_in_whatever_batches_a_text_keeps_its_place_and_its_adapter(
    loaded: Backbone, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    names = ["all", None, "upper", "all", "upper", None]
    alone = [loaded.encode([text], name) for text, name in zip(TEXTS, names, strict=True)]
    monkeypatch.setattr("pointsman.backbone.encoder.CHUNK", 4)
    monkeypatch.setattr(loaded, "_batch_tokens", tokens)
    for way in four_ways(loaded, names):
        assert np.allclose(way(), np.concatenate(alone), atol=1e-5)


def test_a_deadline_stops_every_way_to_a_vector(loaded: Backbone) -> None:
    deadline = Deadline()
    deadline.cancel()
    for way in four_ways(loaded, [None] * len(TEXTS)):
        with pytest.raises(DeadlineError, match="encoding"):
            way(deadline=deadline)


def test_no_texts(loaded: Backbone) -> None:
    assert loaded.finish(loaded.begin([])).shape == (0, WIDTH)


def test_the_bank_outlives_inference_mode(tiny_folder: Path) -> None:
    backbone = Backbone.load(tiny_folder, device="cpu", dtype="fp32")
    with torch.inference_mode():
        backbone.add_adapter("one", random_lora(backbone.model, LAYERS[:3], 2, 0))
    backbone.add_adapter("two", random_lora(backbone.model, LAYERS[:5], 4, 1))
    backbone.remove_adapter("one")
    assert backbone.encode(["alpha"], "two").shape == (1, WIDTH)
