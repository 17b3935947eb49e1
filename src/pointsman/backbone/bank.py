"""The adapter bank: many LoRA adapters on one frozen base, each row of a batch through its own.

For row i with adapter a(i), a linear layer gives y_i = W x_i + s B_a(i) A_a(i) x_i (LoRA, arXiv
2106.09685, with a different pair for every row). The pairs of all adapters lie stacked in one
tensor a layer: ranks are padded with zeros, an adapter that leaves a layer alone is zero there, and
slot 0, which is zero everywhere, is the base. A batch takes its rows' pairs out of the stacks and
multiplies them in two batched products, whatever the number of adapters. Projections that are given
the same input (query, key and value) share the first of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointsman.backbone.lora import LoraAdapter, LowRank
from pointsman.backbone.stack import Stack
from pointsman.errors import ConfigError, ModelError

_BASE = 0


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which slot each row of the batch goes through; `only` where it is one and the same."""

    index: Tensor
    only: int | None


@dataclass(frozen=True, slots=True)
class _Mixture:
    """How much of each slot's change each row of the batch gets: `weights` [n, slots]."""

    slots: Tensor
    weights: Tensor


class AdapterBank:
    """Adapters by name on a base whose modules and weights stay as they are.

    Adapters come, go and are replaced while the bank is in use; the base is never copied. Not safe
    for use from several threads at once.
    """

    def __init__(self, base: nn.Module) -> None:
        # The pooler too: PEFT's "all-linear" adapts it, although nothing here uses what it says.
        self._base = base
        self._linear = {n: m for n, m in base.named_modules() if isinstance(m, nn.Linear)}
        self._hooked: set[str] = set()
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._ranks: dict[str, dict[str, int]] = {}
        self._stacks: dict[str, Stack] = {}
        self._siblings: dict[str, tuple[str, ...]] | None = None
        # What the forward pass under way goes through: rows of the bank, or one adapter in training.
        self._rows: _Rows | _Mixture | None = None
        self._trained: Mapping[str, LowRank] | None = None
        self._dropout = 0.0
        # The last shared input and A x of it, for the siblings that are given the same input.
        self._shared: tuple[Stack, Tensor, Tensor] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters in the bank, in the order in which they came."""
        return tuple(self._slots)

    @property
    def nbytes(self) -> int:
        """Memory of the stacks in bytes, room kept for more adapters included."""
        return sum(
            stack.nbytes
            for each in dict.fromkeys(self._stacks.values())
            for stack in (each.down, *each.up.values())
        )

    def layers(self, name: str) -> tuple[str, ...]:
        """The linear layers that an adapter changes. Raises ConfigError for an unknown name."""
        self._slot(name)
        return tuple(self._ranks[name])

    def add(self, name: str, adapter: LoraAdapter) -> None:
        """Put an adapter in; one of the same name is replaced. Raises ModelError where it does not fit."""
        self.check(adapter)
        if name in self._slots:
            self.remove(name)
        slot = self._free.pop() if self._free else len(self._slots) + 1
        # A slot that is used again may be lower than others: a new stack needs room for them all.
        room = 1 + max([slot, *self._slots.values()])
        ranks = {layer: pair.a.shape[0] for layer, pair in adapter.layers.items()}
        # Inference tensors could not be written to again outside of inference mode.
        with torch.inference_mode(False), torch.no_grad():
            for layer, pair in adapter.layers.items():
                stack = self._stack(layer, ranks[layer])
                stack.reserve(room)
                a, b = stack.pairs(slot)[layer]
                a[: ranks[layer]] = pair.a
                b[: ranks[layer]] = pair.b.T * pair.scale
            for stack in self._stacks.values():
                stack.reserve(room)
        self._slots[name] = slot
        self._ranks[name] = ranks
        self._hook(adapter.layers)

    def remove(self, name: str) -> None:
        """Take an adapter out. Raises ConfigError when there is none of that name."""
        slot = self._slot(name)
        with torch.inference_mode(False), torch.no_grad():
            for layer in self._ranks[name]:
                for part in self._stacks[layer].pairs(slot)[layer]:
                    part.zero_()
        del self._slots[name], self._ranks[name]
        self._free.append(slot)

    def check(self, adapter: LoraAdapter) -> None:
        """Raise ModelError where an adapter does not fit the base."""
        for name, pair in adapter.layers.items():
            linear = self._linear.get(name)
            if linear is None:
                raise ModelError(f"the adapter changes {name!r}, which this base does not have")
            if (pair.b.shape[0], pair.a.shape[1]) != (linear.out_features, linear.in_features):
                raise ModelError(
                    f"the adapter's {name} maps {pair.a.shape[1]} to {pair.b.shape[0]} dimensions, "
                    f"the base's {linear.in_features} to {linear.out_features}"
                )

    @contextmanager
    def rows(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within the block, row i of a forward pass goes through adapter names[i] (None: the base).

        For inference: what the layers give is changed in place.
        """
        slots = [_BASE if name is None else self._slot(name) for name in names]
        only = slots[0] if slots and slots.count(slots[0]) == len(slots) else None
        device = next(self._base.parameters()).device
        before, self._rows = self._rows, _Rows(torch.tensor(slots, device=device), only)
        try:
            yield
        finally:
            self._rows, self._shared = before, None

    @contextmanager
    def mixtures(self, names: Sequence[str], weights: Tensor) -> Iterator[None]:
        """Within the block, row i gets Σ_j weights[i, j] · s_j B_j A_j x of the adapters `names`.

        What is mixed are the adapters' changes to every layer, in one pass, whatever their number;
        that is not quite the mixture of what each of them would give in a pass of its own. A row of
        zeros is the base. `weights` is [n, adapters]. For inference, as `rows` is.
        """
        if weights.ndim != 2 or weights.shape[1] != len(names):
            raise ConfigError(
                f"weights of shape {tuple(weights.shape)} for {len(names)} adapters: one column for each"
            )
        linear = next(iter(self._linear.values())).weight
        slots = torch.tensor([self._slot(name) for name in names], device=linear.device)
        mixture = _Mixture(slots, weights.to(linear.device, linear.dtype)) if len(names) else None
        before, self._rows = self._rows, mixture
        try:
            yield
        finally:
            self._rows, self._shared = before, None

    @contextmanager
    def training(self, adapter: LoraAdapter | None, dropout: float = 0.0) -> Iterator[None]:
        """Within the block, every row goes through this adapter, which need not be in the bank.

        Gradients reach its matrices. `dropout` is the share of A x that is zeroed.
        """
        if adapter is not None:
            self.check(adapter)
            self._hook(adapter.layers)
        before = self._trained, self._dropout, self._rows
        self._trained = None if adapter is None else adapter.layers
        self._dropout, self._rows = dropout, None
        try:
            yield
        finally:
            self._trained, self._dropout, self._rows = before

    def _slot(self, name: str) -> int:
        if name not in self._slots:
            known = ", ".join(self._slots) or "none"
            raise ConfigError(f"no adapter {name!r} is loaded (loaded: {known})")
        return self._slots[name]

    # ---- stacks

    def _stack(self, layer: str, rank: int) -> Stack:
        """The stack that holds a layer, made or widened where it has no room for this rank."""
        stack = self._stacks.get(layer)
        if stack is not None and rank <= stack.rank:
            return stack
        siblings = [
            name for name in self._given_the_same(layer) if name == layer or name in self._stacks
        ]
        old = {name: self._stacks[name] for name in siblings if name in self._stacks}
        linear = self._linear[layer]
        rank = max([rank, *(each.rank for each in old.values())])
        outputs = {name: self._linear[name].out_features for name in siblings}
        wider = Stack(outputs, linear.in_features, rank, linear.weight)
        wider.reserve(max([1, *(each.down.shape[0] for each in old.values())]))
        for name, each in old.items():
            wider.take_over(name, each)
        for name in siblings:
            self._stacks[name] = wider
        return wider

    def _given_the_same(self, layer: str) -> tuple[str, ...]:
        """The layers that get the very tensor that this one gets, found by watching one forward pass."""
        if self._siblings is None:
            self._siblings = shared_inputs(self._base, self._linear)
        return self._siblings.get(layer, (layer,))

    # ---- the forward pass

    def _hook(self, layers: Mapping[str, Any]) -> None:
        for name in layers:
            if name not in self._hooked:
                self._hooked.add(name)
                self._linear[name].register_forward_hook(self._adapting(name))

    def _adapting(self, name: str) -> Any:
        def adapt(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self._trained is not None:
                pair = self._trained.get(name)
                return None if pair is None else pair.onto(output, args[0], self._dropout)
            rows = self._rows
            if rows is None or name not in self._stacks:
                return None
            if isinstance(rows, _Rows) and rows.only == _BASE:
                return None
            return self._adapted(name, args[0], output, rows)

        return adapt

    def _adapted(self, name: str, x: Tensor, output: Tensor, rows: _Rows | _Mixture) -> Tensor:
        """output [n, …, out] plus each row's own s B A x, in place."""
        stack = self._stacks[name]
        if isinstance(rows, _Mixture):
            inner = self._mixed_inner(stack, x, rows)[:, :, stack.layers.index(name)]
            up = stack.up[name].index_select(0, rows.slots).view(-1, output.shape[-1])
            output.view(-1, output.shape[-1]).addmm_(inner.reshape(-1, len(up)), up)
            return output
        inner = self._inner(stack, x, rows)
        at = stack.layers.index(name) * stack.rank
        inner = inner[..., at : at + stack.rank]
        if rows.only is not None:
            up = stack.up[name][rows.only].view(stack.rank, -1)
            output.view(-1, output.shape[-1]).addmm_(inner, up)
        else:
            up = stack.up[name].index_select(0, rows.index).view(len(rows.index), stack.rank, -1)
            output.view(len(rows.index), -1, output.shape[-1]).baddbmm_(inner, up)
        return output

    def _mixed_inner(self, stack: Stack, x: Tensor, rows: _Mixture) -> Tensor:
        """w A x [n, tokens, members, slots, rank] for all members of the stack and all slots."""
        if self._shared is not None and self._shared[0] is stack and self._shared[1] is x:
            return self._shared[2]
        n, slots = rows.weights.shape
        _check_rows(x, n)
        # Members outermost, so that a layer's part of the product lies together.
        down = stack.down.index_select(0, rows.slots)
        down = down.view(slots, len(stack.layers), stack.rank, stack.width).transpose(0, 1)
        inner = x.reshape(-1, stack.width) @ down.reshape(-1, stack.width).T
        inner = inner.view(n, -1, len(stack.layers), slots, stack.rank)
        inner *= rows.weights.view(n, 1, 1, slots, 1)
        self._shared = (stack, x, inner) if len(stack.layers) > 1 else None
        return inner

    def _inner(self, stack: Stack, x: Tensor, rows: _Rows) -> Tensor:
        """A x for all members of the stack: [tokens, members · rank], or [n, …] where rows differ."""
        if self._shared is not None and self._shared[0] is stack and self._shared[1] is x:
            return self._shared[2]
        if rows.only is not None:
            inner = x.reshape(-1, stack.width) @ stack.down[rows.only].view(-1, stack.width).T
        else:
            _check_rows(x, len(rows.index))
            down = stack.down.index_select(0, rows.index).view(len(x), -1, stack.width)
            inner = torch.bmm(x.reshape(len(x), -1, stack.width), down.transpose(1, 2))
        self._shared = (stack, x, inner) if len(stack.layers) > 1 else None
        return inner


def _check_rows(x: Tensor, n: int) -> None:
    if x.shape[0] != n:
        raise ModelError(
            f"a layer is given {x.shape[0]} rows for a batch of {n}: "
            "this base cannot take several adapters in one batch"
        )


def shared_inputs(base: nn.Module, linear: Mapping[str, nn.Linear]) -> dict[str, tuple[str, ...]]:
    """For each linear layer, those that are given the very same tensor, itself included."""
    seen: list[tuple[str, Tensor]] = []

    def watch(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            # The tensor itself is kept, so that no other one can get its identity meanwhile.
            seen.append((name, args[0]))

        return note

    hooks = [m.register_forward_pre_hook(watch(name)) for name, m in linear.items()]
    try:
        with torch.inference_mode():
            device = next(base.parameters()).device
            ids = torch.zeros(1, 2, dtype=torch.long, device=device)
            base(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        for hook in hooks:
            hook.remove()
    groups: dict[int, list[str]] = {}
    for name, given in seen:
        groups.setdefault(id(given), []).append(name)
    return {name: tuple(group) for group in groups.values() for name in group}
