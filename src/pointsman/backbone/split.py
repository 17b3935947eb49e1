"""A transformer cut in two: its lower layers run once, its upper layers on what they gave.

Works on every Hugging Face encoder that has an `embeddings` module and one list of layers that it
goes through in order (BERT, RoBERTa, MPNet, DistilBERT, ELECTRA, ModernBERT, …).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pointsman.errors import ConfigError, ModelError


class SplitModel:
    """Runs the lower or the upper part of a model by itself; the model stays as it was."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._where = _layer_list(model)

    @property
    def layers(self) -> int:
        """How many layers there are; 0 where this model cannot be cut."""
        return 0 if self._where is None else len(_get(self._model, self._where))

    def layer_of(self, name: str) -> int:
        """The layer that a module belongs to by its name; -1 where it lies below them all."""
        prefix = f"{self._where}."
        if self._where is None or not name.startswith(prefix):
            return -1 if name.startswith("embeddings") else self.layers
        return int(name[len(prefix) :].split(".", 1)[0])

    def lower(self, inputs: dict[str, Tensor], layers: int) -> Tensor:
        """States [n, length, d] after the embeddings and the first `layers` layers."""
        where = self._check(layers)
        every = _get(self._model, where)
        last: Any = every[layers - 1] if layers else getattr(self._model, "embeddings")  # noqa: B009
        found: list[Tensor] = []
        # What the last of them gives is taken from it, for a model may do more after its layers.
        hook = last.register_forward_hook(lambda module, args, output: found.append(_first(output)))
        try:
            with _layers(self._model, where, every[:layers]):
                self._model(**inputs)
        finally:
            hook.remove()
        return found[0]

    def upper(self, states: Tensor, mask: Tensor, layers: int) -> Tensor:
        """Last hidden states from what `lower` gave for as many layers; `mask` [n, length]."""
        where = self._check(layers)
        every = _get(self._model, where)
        given, embeddings = _Given(states), getattr(self._model, "embeddings")  # noqa: B009
        ids = torch.zeros_like(mask, dtype=torch.long)
        setattr(self._model, "embeddings", given)  # noqa: B010
        try:
            with _layers(self._model, where, every[layers:]):
                out: Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        finally:
            setattr(self._model, "embeddings", embeddings)  # noqa: B010
        return out

    def _check(self, layers: int) -> str:
        if self._where is None:
            raise ModelError(
                f"{type(self._model).__name__} cannot be cut between its layers: "
                "it has no `embeddings` and one list of layers"
            )
        if not 0 <= layers <= self.layers:
            raise ConfigError(f"{layers} lower layers of a model that has {self.layers}")
        return self._where


class _Given(nn.Module):
    """Stands where the embeddings stood, and gives states that are there already."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self._states = states

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._states


def _layer_list(model: nn.Module) -> str | None:
    """The name of the model's list of layers, None where it has none or more than one."""
    config: Any = model.config
    count = getattr(config, "num_hidden_layers", None)
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outer = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    if len(outer) != 1 or not isinstance(getattr(model, "embeddings", None), nn.Module):
        return None
    return str(outer[0])


def _get(model: nn.Module, name: str) -> Any:
    return model.get_submodule(name)


@contextmanager
def _layers(model: nn.Module, where: str, layers: nn.ModuleList) -> Iterator[None]:
    """Within the block the model has only these layers."""
    parent, _, name = where.rpartition(".")
    owner = model.get_submodule(parent)
    every = getattr(owner, name)
    setattr(owner, name, layers)
    try:
        yield
    finally:
        setattr(owner, name, every)


def _first(output: Any) -> Tensor:
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states
