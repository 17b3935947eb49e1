"""The faster ways on a CPU give what the plain ones give, and step aside where gradients are needed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from families import FAMILIES, SIZES
from pointsman.backbone import cpu
from pointsman.backbone.cpu import (
    ATTENTION,
    InPlaceGelu,
    OneDnnLinear,
    attention,
    attention_for,
    speed_up,
)

# Rows in no order of length, one of them a single token.
IDS = torch.tensor(
    [
        [2, 11, 12, 3, 1, 1, 1, 1],
        [2, 5, 6, 7, 8, 9, 10, 3],
        [2, 1, 1, 1, 1, 1, 1, 1],
        [2, 9, 8, 3, 1, 1, 1, 1],
    ]
)
MASK = (IDS != 1).long()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_same_states(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setattr(cpu, "_SCORES", 2 * 8 * 8)  # so that rows are split into several chunks
    monkeypatch.setattr(cpu, "_VECTOR", 4)  # and these rows are long
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **FAMILIES[family]})
    made: Any = getattr(transformers, f"{family}Model")
    torch.manual_seed(0)
    plain = made._from_config(config, attn_implementation="eager").eval().to(dtype)
    chosen = attention_for(config.model_type, dtype)
    fast = made._from_config(config, attn_implementation=chosen).eval().to(dtype)
    fast.load_state_dict(plain.state_dict())
    speed_up(fast)
    with torch.inference_mode():
        expected = plain(input_ids=IDS, attention_mask=MASK).last_hidden_state.float()
        found = fast(input_ids=IDS, attention_mask=MASK).last_hidden_state.float()
    real = MASK.bool()
    tolerance = 1e-5 if dtype == torch.float32 else 0.06
    assert (found - expected)[real].abs().max() < tolerance
    assert torch.isfinite(found).all()
    assert (chosen == ATTENTION) == (family not in ("MPNet", "ModernBert"))


@pytest.mark.parametrize(("vector", "long"), [(1, 1), (4, 1), (4, 192)])
def test_gradients_of_attention_are_those_of_differences(
    vector: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_VECTOR", vector)
    monkeypatch.setattr(cpu, "_LONG", long)
    monkeypatch.setattr(cpu, "_SCORES", 3 * 6 * 8)  # three heads at a time, of two texts at once
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 6, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] + [0] * 5])

    def of(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(nn.Identity(), q, k, v, mask, scaling=0.7)[0]

    assert torch.autograd.gradcheck(of, (q, k, v))
    scores = (0.7 * q @ k.transpose(2, 3)).masked_fill(mask[:, None, None] == 0, -torch.inf)
    assert torch.allclose(of(q, k, v), (scores.softmax(-1) @ v).transpose(1, 2))


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_gradients_are_those_of_the_plain_attention(family: str) -> None:
    import transformers

    config = getattr(transformers, f"{family}Config")(**{**SIZES, **FAMILIES[family]})
    made: Any = getattr(transformers, f"{family}Model")
    torch.manual_seed(0)
    plain = made._from_config(config, attn_implementation="eager").eval()
    fast = made._from_config(
        config, attn_implementation=attention_for(config.model_type, torch.float32)
    ).eval()
    fast.load_state_dict(plain.state_dict())
    found = []
    for model in (plain, fast):
        # Of the first layer nothing is learned: it runs as it does without gradients.
        for name, weight in model.named_parameters():
            weight.requires_grad_("layer.1." in name)
        states = model(input_ids=IDS, attention_mask=MASK).last_hidden_state
        (states[MASK.bool()] ** 3).sum().backward()
        found.append({n: w.grad for n, w in model.named_parameters() if w.requires_grad})
    assert any("query.weight" in name for name in found[0])
    for name, gradient in found[0].items():
        other = found[1][name]
        if gradient is None:
            assert other is None
            continue
        assert torch.allclose(gradient, other, rtol=1e-3, atol=1e-4), name


def test_dropout_of_attention_is_heeded_in_training() -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(1, 1, 64, 4, requires_grad=True) for _ in range(2))
    v = torch.ones(1, 1, 64, 4)
    kept, _ = attention(nn.Identity(), q, k, v, None)
    assert torch.allclose(kept, torch.ones_like(kept))
    dropped, _ = attention(nn.Identity(), q, k, v, None, dropout=0.5)
    assert 0.7 < float(dropped.detach().mean()) < 1.3
    assert float(dropped.detach().std()) > 0.05


def test_attention_by_hand() -> None:
    # One head of width 1 over keys 0 and ln 3, scale 1: weights 1/4 and 3/4 for the query 1. The
    # third token is padding, whose value would show.
    q = torch.tensor([1.0, 0.0, 5.0]).view(1, 1, 3, 1)
    k = torch.tensor([0.0, torch.log(torch.tensor(3.0)), 9.0]).view(1, 1, 3, 1)
    v = torch.tensor([4.0, 8.0, 1000.0]).view(1, 1, 3, 1)
    out, _ = attention(nn.Identity(), q, k, v, torch.tensor([[1, 1, 0]]), scaling=1.0)
    assert out[0, :, 0, 0].tolist() == pytest.approx([7.0, 6.0, 0.0])


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), budget=st.integers(1, 400))
def test_chunks_are_all_rows_within_budget(lengths: list[int], budget: int) -> None:
    chunks = list(cpu._chunks(lengths, budget))
    assert [i for rows in chunks for i in range(rows.start, rows.stop)] == [*range(len(lengths))]
    for rows in chunks:
        size = rows.stop - rows.start
        assert size == 1 or size * max(lengths[rows]) ** 2 <= budget


@pytest.mark.parametrize("vector", [3, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_its_neighbours(
    dtype: torch.dtype, vector: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_VECTOR", vector)
    torch.manual_seed(0)
    q, k, v = (torch.randn(4, 2, 8, 16, dtype=dtype) for _ in range(3))
    lengths = MASK.sum(1).tolist()
    together, _ = attention(nn.Identity(), q, k, v, MASK)
    for row, length in enumerate(lengths):
        mine = [each[row : row + 1, :, :length] for each in (q, k, v)]
        alone = nn.functional.scaled_dot_product_attention(mine[0], mine[1], mine[2])
        alone = alone.transpose(1, 2)
        difference = (together[row : row + 1, :length] - alone).float().abs().max()
        assert difference < (1e-5 if dtype == torch.float32 else 0.03)


def test_a_linear_layer_multiplies_alike_and_learns_alike() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 16)
    fast = nn.Linear(24, 16)
    fast.load_state_dict(plain.state_dict())
    holder = nn.Sequential(fast)
    speed_up(holder)
    assert isinstance(holder[0], OneDnnLinear)
    x = torch.randn(2, 5, 24)
    with torch.inference_mode():
        assert torch.allclose(fast(x), plain(x), atol=1e-5)
        assert fast(x[:0]).shape == (0, 5, 16)
    fast(x).square().sum().backward()
    plain(x).square().sum().backward()
    assert fast.weight.grad is not None
    assert plain.weight.grad is not None
    assert torch.allclose(fast.weight.grad, plain.weight.grad)


def test_a_linear_layer_under_autocast_takes_what_comes() -> None:
    layer = nn.Linear(8, 4, dtype=torch.bfloat16)
    speed_up(nn.Sequential(layer))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 8)).shape == (3, 4)


def test_gelu_spares_memory_only_where_no_gradient_is_needed() -> None:
    x = torch.linspace(-2, 2, 9)
    expected = nn.functional.gelu(x)
    leaf = x.clone().requires_grad_()
    out = InPlaceGelu()(leaf * 1.0)
    out.sum().backward()
    assert torch.allclose(out, expected)
    assert leaf.grad is not None
    with torch.inference_mode():
        given = x.clone()
        assert torch.allclose(InPlaceGelu()(given), expected)
        assert torch.allclose(given, expected)  # written over


def test_other_formats_and_other_layers_stay_as_they_are() -> None:
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(2, 2, dtype=torch.float16), Own(2, 2), nn.GELU())
    speed_up(model)
    assert [type(layer) for layer in model] == [nn.Linear, Own, nn.GELU]
    assert attention_for("bert", torch.float16) is None
    assert attention_for("mpnet", torch.float32) is None


_FAULTS = """
import resource
import torch
from pointsman.backbone.cpu import keep_freed_memory
keep_freed_memory()
def work():
    blocks = [torch.zeros(4_000_000, dtype=torch.uint8) for _ in range(8)]
    del blocks
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise() -> None:
    def faults(**more: str) -> int:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        environment.pop("LD_PRELOAD", None)
        done = subprocess.run(
            [sys.executable, "-c", _FAULTS],
            capture_output=True,
            text=True,
            check=True,
            env=environment | more,
        )
        return int(done.stdout)

    # 32 MB ten times over are 78,000 pages of 4 kB, or 160 of 2 MB.
    kept, told = faults(), faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept < 20
    assert told > 100
