"""LoRA adapters in PEFT's format.

LoRA (arXiv 2106.09685): y = W x + s · B A x with A [r, in], B [out, r] and s = alpha / r
(alpha / √r for the rank-stabilised kind, arXiv 2312.03732).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointsman.errors import ModelError, SpecialistError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class LowRank:
    """The pair of matrices of one linear layer: `a` [r, in], `b` [out, r], and the scale s."""

    a: Tensor
    b: Tensor
    scale: float

    def delta(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        """s · B A x for x [..., in]; while training, `dropout` is the share of A x that is zeroed.

        PEFT drops from x instead; A x is many times narrower, and on a CPU that is what it costs.
        """
        return nn.functional.linear(self._inner(x, dropout), self.b)

    def onto(self, output: Tensor, x: Tensor, dropout: float = 0.0) -> Tensor:
        """output [..., out] + `delta`: in one pass over what is wide, forward and backward."""
        inner = self._inner(x, dropout)
        wide, narrow = output.flatten(0, -2), inner.flatten(0, -2)
        return torch.addmm(wide, narrow, self.b.T).view(output.shape)

    def _inner(self, x: Tensor, dropout: float) -> Tensor:
        """s · A x [..., r]: scaled where it is narrow."""
        inner = nn.functional.linear(x, self.a)
        if dropout:
            inner = nn.functional.dropout(inner, dropout)
        return inner * self.scale


@dataclass(frozen=True)
class LoraAdapter:
    """One adapter: a low-rank pair for each adapted layer, by the layer's name in the base."""

    layers: Mapping[str, LowRank]

    @property
    def parameters(self) -> int:
        """How many weights the adapter has."""
        return sum(pair.a.numel() + pair.b.numel() for pair in self.layers.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> LoraAdapter:
        """The same adapter elsewhere or in another format."""
        return LoraAdapter(
            {
                name: LowRank(pair.a.to(device, dtype), pair.b.to(device, dtype), pair.scale)
                for name, pair in self.layers.items()
            }
        )

    def trainable(self, device: torch.device | None = None) -> dict[str, nn.Parameter]:
        """Its matrices as parameters of their own, by the names that `tensors` gives them."""
        return own_parameters(self.tensors(), device)

    def from_layer(self, number: int) -> LoraAdapter:
        """What it changes of the transformer layers from this number on; all of it for 0."""
        return LoraAdapter(
            {name: pair for name, pair in self.layers.items() if _from_layer(name, number)}
        )

    def first_layers(self, number: int | None) -> LoraAdapter:
        """What it changes of the first so many transformer layers and below; all of it for None."""
        if number is None:
            return self
        above = self.from_layer(number).layers if number else {}
        return LoraAdapter({name: pair for name, pair in self.layers.items() if name not in above})

    def tensors(self) -> dict[str, Tensor]:
        """Every matrix by PEFT's name for it."""
        return {
            f"{_PREFIX}{name}.lora_{which}.weight": getattr(pair, which.lower())
            for name, pair in self.layers.items()
            for which in ("A", "B")
        }

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> LoraAdapter:
        """The same layers and scales with other matrices, named as `tensors` names them."""
        return LoraAdapter(
            {
                name: LowRank(
                    tensors[f"{_PREFIX}{name}.lora_A.weight"],
                    tensors[f"{_PREFIX}{name}.lora_B.weight"],
                    pair.scale,
                )
                for name, pair in self.layers.items()
            }
        )


def own_parameters(
    tensors: Mapping[str, Tensor], device: torch.device | None = None
) -> dict[str, nn.Parameter]:
    """Copies in fp32 that training may change; what was given stays as it is."""
    return {
        name: nn.Parameter(value.detach().to(device, torch.float32, copy=True))
        for name, value in tensors.items()
    }


def linear_layers(base: nn.Module) -> dict[str, nn.Linear]:
    """The base's linear layers by name, without the pooler (nothing here uses its output)."""
    return {
        name: module
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("pooler")
    }


def new_adapter(
    base: nn.Module,
    rank: int,
    alpha: float,
    generator: torch.Generator | None = None,
    targets: Collection[str] | None = None,
    from_layer: int = 0,
) -> LoraAdapter:
    """A fresh adapter: A uniform as Kaiming's, B zero, so it changes nothing yet.

    It adapts every linear layer, or those whose own name ("query") is one of `targets`, of the
    transformer layers from number `from_layer` on. Raises ModelError where the base has none.
    """
    layers = {}
    for name, linear in linear_layers(base).items():
        if targets is not None and name.rpartition(".")[2] not in targets:
            continue
        if not _from_layer(name, from_layer):
            continue
        bound = 1 / math.sqrt(linear.in_features)
        a = torch.empty(rank, linear.in_features).uniform_(-bound, bound, generator=generator)
        layers[name] = LowRank(a, torch.zeros(linear.out_features, rank), alpha / rank)
    if not layers:
        named = "" if targets is None else f" called {' or '.join(sorted(targets))}"
        raise ModelError(f"the base has no linear layer{named} to adapt")
    return LoraAdapter(layers)


def _from_layer(name: str, number: int) -> bool:
    """Whether the linear layer of this name belongs to a transformer layer from this number on."""
    found = re.search(r"(?:^|\.)(\d+)\.", name)
    return number == 0 or (found is not None and int(found[1]) >= number)


def weights_digest(adapter: LoraAdapter, head: Mapping[str, Tensor] | None = None) -> str:
    """Changes with the weights of an adapter, and of a head that goes with it."""
    found = hashlib.sha256()
    for name, tensor in sorted({**adapter.tensors(), **(head or {})}.items()):
        found.update(name.encode())
        found.update(tensor.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()[:20]


def write_adapter(adapter: LoraAdapter, folder: Path, base_name: str, dtype: torch.dtype) -> None:
    """Write PEFT's two files. `base_name` is for people; the base is known by its hash elsewhere."""
    from safetensors.torch import save_file

    ranks = {name: pair.a.shape[0] for name, pair in adapter.layers.items()}
    rank = max(ranks.values())
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": next(
            pair.scale * ranks[name] for name, pair in adapter.layers.items() if ranks[name] == rank
        ),
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: pair.scale * ranks[name] for name, pair in adapter.layers.items()}
        if len({round(pair.scale * ranks[n], 6) for n, pair in adapter.layers.items()}) > 1
        else {},
        "target_modules": sorted(adapter.layers),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_dora": False,
        "use_rslora": False,
        "modules_to_save": None,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in adapter.tensors().items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def read_adapter(folder: Path) -> LoraAdapter:
    """Read a PEFT folder. Raises SpecialistError where it is corrupt or not plain LoRA."""
    config = _read_config(folder)
    tensors = read_safetensors(folder / WEIGHTS_FILE)
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        match = re.fullmatch(rf"{re.escape(_PREFIX)}(.+)\.lora_([AB])(?:\.\w+)?\.weight", key)
        if match is None:
            raise SpecialistError(f"{folder / WEIGHTS_FILE}: {key!r} is not a LoRA matrix")
        pairs.setdefault(match[1], {})[match[2]] = value
    layers = {}
    for name, pair in pairs.items():
        if set(pair) != {"A", "B"} or not _belong_together(pair["A"], pair["B"]):
            raise SpecialistError(
                f"{folder / WEIGHTS_FILE}: the matrices of {name} do not belong together"
            )
        rank = pair["A"].shape[0]
        alpha = _pattern(config.get("alpha_pattern"), name, float(config.get("lora_alpha", rank)))
        divisor = math.sqrt(rank) if config.get("use_rslora") else rank
        layers[name] = LowRank(pair["A"], pair["B"], alpha / divisor)
    if not layers:
        raise SpecialistError(f"{folder / WEIGHTS_FILE}: no LoRA matrices in it")
    return LoraAdapter(layers)


def _belong_together(a: Tensor, b: Tensor) -> bool:
    return a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1]


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises SpecialistError naming the file when it is missing or corrupt."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except FileNotFoundError:
        raise SpecialistError(f"{path}: missing") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise SpecialistError(f"{path}: corrupt ({error}); copy or train it again") from error


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecialistError(f"{path}: missing, so this is not a PEFT folder") from None
    except ValueError as error:
        raise SpecialistError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise SpecialistError(f"{path}: not a PEFT configuration (a JSON object is needed)")
    kind = str(config.get("peft_type", "LORA")).upper()
    refused = {
        f"the {kind} kind of adapter": kind != "LORA",
        "DoRA": bool(config.get("use_dora")),
        "trained biases": config.get("bias", "none") != "none",
        "fully trained modules (modules_to_save)": bool(config.get("modules_to_save")),
    }
    for what, present in refused.items():
        if present:
            raise SpecialistError(
                f"{folder}: {what} cannot be stacked on a shared base; plain LoRA can"
            )
    return config


def _pattern(pattern: Mapping[str, float] | None, name: str, default: float) -> float:
    for key, value in (pattern or {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", name):
            return float(value)
    return default
