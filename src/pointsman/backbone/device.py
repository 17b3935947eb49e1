"""Which device and which number format a machine does well."""

from __future__ import annotations

import os

import torch

from pointsman.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Not a format of tensors but a way to multiply them; see int8.py.
INT8 = "int8"


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the best one there is. Raises ConfigError when it is not there."""
    if name in (None, "auto"):
        if torch.cuda.is_available():
            # torchrun starts one process a GPU, and says here which is whose.
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(str(name))
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown (auto, cpu, cuda, cuda:1, mps)") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but this PyTorch sees no CUDA GPU")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device {name!r} was asked for, but this machine has no Metal GPU")
    return device


def choose_dtype(device: torch.device, name: str | None = None) -> torch.dtype:
    """The named format, or bf16 where the hardware multiplies it natively and fp32 elsewhere."""
    if name not in (None, "auto"):
        if name not in DTYPES:
            raise ConfigError(f"dtype {name!r} is unknown (auto, {', '.join((*DTYPES, INT8))})")
        return DTYPES[str(name)]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_bf16() else torch.float32


def cpu_has_bf16() -> bool:
    """Whether this processor has bf16 matrix instructions (AMX or AVX512-BF16)."""
    # Emulated bf16 is slower than fp32, so "it runs" is not enough; PyTorch has no public question.
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


def trains_in_bf16(device: torch.device) -> bool:
    """Whether training in mixed precision is faster there."""
    return device.type == "cuda" or (device.type == "cpu" and cpu_has_bf16())


def dtype_name(dtype: torch.dtype) -> str:
    """The short name of a number format: fp32, bf16 or fp16."""
    return next(name for name, value in DTYPES.items() if value == dtype)
