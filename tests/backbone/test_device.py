"""Device and number format: what is chosen, and what is said when it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pointsman.backbone.device import choose_device, choose_dtype, cpu_has_bf16, dtype_name
from pointsman.backbone.encoder import Backbone
from pointsman.errors import ConfigError

CPU = torch.device("cpu")


def test_named_formats_and_their_names_agree() -> None:
    for name in ("fp32", "bf16", "fp16"):
        assert dtype_name(choose_dtype(CPU, name)) == name


@pytest.mark.parametrize("name", [None, "auto"])
def test_automatic_format_is_one_that_the_processor_does_well(name: str | None) -> None:
    expected = torch.bfloat16 if cpu_has_bf16() else torch.float32
    assert choose_dtype(CPU, name) is expected
    assert choose_dtype(torch.device("mps"), name) is torch.float32


def test_unknown_format_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"'float8' is unknown \(auto, fp32, bf16, fp16, int8\)"):
        choose_dtype(CPU, "float8")


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device(None) == choose_device("auto")
    with pytest.raises(ConfigError, match="'abacus' is unknown"):
        choose_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match="sees no CUDA GPU"):
        choose_device(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is a Metal GPU")
def test_a_metal_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no Metal GPU"):
        choose_device("mps")


def test_bf16_is_near_fp32(tiny: Backbone, tiny_folder: Path) -> None:
    half = Backbone.load(tiny_folder, device="cpu", dtype="bf16")
    texts = ["alpha beta", "", "what is the colour of gamma"]
    vectors = half.encode(texts)
    assert vectors.dtype.name == "float32"
    assert half.identity == tiny.identity
    assert (vectors * tiny.encode(texts)).sum(1).min() > 0.998
