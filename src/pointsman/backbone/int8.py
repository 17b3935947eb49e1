"""Linear layers in 8-bit integers: for a CPU that does bf16 no better than fp32.

Weights are rounded once, each output channel to its own scale; inputs on every call, to a scale of
the tensor's (dynamic quantisation). Everything else stays fp32, adapters too: what they add is added
to the product in full precision.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from pointsman.errors import ConfigError

_LARGEST = 127  # a signed 8-bit integer, symmetric around zero


class Int8Linear(nn.Linear):
    """A linear layer that multiplies in int8 when no gradient is asked for; its weights stay."""

    packed: Any

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Linear: [..., in] to [..., out], both fp32."""
        if torch.is_grad_enabled() or input.dtype != torch.float32 or input.numel() == 0:
            return super().forward(input)
        # Without VNNI two products are added in 16 bits, which a full 8 bits would overflow.
        narrow = not torch.cpu._is_vnni_supported()
        out: Tensor = torch.ops.quantized.linear_dynamic(input, self.packed, narrow)
        return out


def quantise(model: nn.Module) -> None:
    """Let every fp32 linear layer of a model multiply in int8. Raises ConfigError where none can."""
    there = hasattr(torch, "quantize_per_channel") and hasattr(torch.ops, "quantized")
    if not there or torch.backends.quantized.engine not in ("x86", "fbgemm", "onednn"):
        raise ConfigError("dtype int8 needs an x86 processor and PyTorch 2's; take fp32, or auto")
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.dtype == torch.float32:
            module.__class__ = Int8Linear
            module.packed = _packed(module)


def _packed(linear: nn.Linear) -> Any:
    weight = linear.weight.detach()
    largest = weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny * _LARGEST)
    channels = len(largest)
    with warnings.catch_warnings():
        # PyTorch will have this in another place one day; `quantise` looks whether it is here.
        warnings.simplefilter("ignore", UserWarning)
        rounded = torch.quantize_per_channel(
            weight,
            (largest / _LARGEST).double(),
            torch.zeros(channels, dtype=torch.long),
            0,
            torch.qint8,
        )
    return torch.ops.quantized.linear_prepack(rounded, linear.bias)
