"""The LoRA pairs of many adapters, stacked in one tensor a layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class Stack:
    """The pairs of all adapters for layers that share an input of `width` dimensions.

    `outputs` gives each layer's output width; what is stored has the device and format of `like`.
    `down` [slots, members · rank · in] holds the members' A below each other, `up[layer]`
    [slots, rank · out] each member's s · Bᵀ. Flat rows: taking rows out of a matrix is several
    times faster than out of a tensor with more dimensions.
    """

    def __init__(self, outputs: Mapping[str, int], width: int, rank: int, like: Tensor) -> None:
        self.layers = tuple(outputs)
        self.rank = rank
        self.width = width
        self.down = like.new_zeros(1, len(outputs) * rank * width)
        self.up = {layer: like.new_zeros(1, rank * out) for layer, out in outputs.items()}

    def pairs(self, slot: int) -> dict[str, tuple[Tensor, Tensor]]:
        """One slot's (A [rank, in], s · Bᵀ [rank, out]) by layer, as views."""
        down = self.down[slot].view(len(self.layers), self.rank, self.width)
        return {
            layer: (down[i], self.up[layer][slot].view(self.rank, -1))
            for i, layer in enumerate(self.layers)
        }

    def take_over(self, layer: str, other: Stack) -> None:
        """Copy a layer's pairs of all slots from a stack of at most this rank and as many slots."""
        slots = other.down.shape[0]
        mine = self.down.view(-1, len(self.layers), self.rank, self.width)
        theirs = other.down.view(slots, len(other.layers), other.rank, self.width)
        at, was = self.layers.index(layer), other.layers.index(layer)
        mine[:slots, at, : other.rank] = theirs[:, was]
        up = self.up[layer].view(len(self.down), self.rank, -1)
        up[:slots, : other.rank] = other.up[layer].view(slots, other.rank, -1)

    def reserve(self, slots: int) -> None:
        """Room for so many slots; doubling, so that n adapters are copied O(n) times in all."""
        have = self.down.shape[0]
        if have >= slots:
            return
        slots = max(slots, 2 * have)

        def grown(stack: Tensor) -> Tensor:
            larger = stack.new_zeros(slots, stack.shape[1])
            larger[:have] = stack
            return larger

        self.down = grown(self.down)
        self.up = {layer: grown(stack) for layer, stack in self.up.items()}
