"""What a forward pass costs, counted from the model's shape rather than measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer encoder's shape: layers, width d, feed-forward width."""

    layers: int
    width: int
    feed_forward: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """A transformer's shape by its configuration, by whatever names that has."""
        width = int(config.hidden_size)
        inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
        return cls(int(config.num_hidden_layers), width, int(inner or 4 * width))

    def first(self, layers: int | None) -> Shape:
        """The shape of its first layers; its own for None."""
        return self if layers is None else replace(self, layers=layers)

    def forward_gflops(self, rows: int, length: int) -> float:
        """GFLOPs of one forward pass over `rows` texts of `length` tokens; a multiply-add is 2.

        A layer: four d × d projections and two d × feed_forward ones a token, and 2 · length · d
        multiply-adds a token for attention scores and their weighted sum.
        """
        weights = 4 * self.width**2 + 2 * self.width * self.feed_forward
        attention = 2 * length * self.width
        return rows * length * self.layers * 2 * (weights + attention) / 1e9
