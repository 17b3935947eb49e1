"""What a forward pass costs, counted from the model's shape rather than measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer's shape: layers, width d, feed-forward width; and the layers of a decoder that reads the
    same text once more and looks at the encoder's states, as BART's does to answer. 0 for none.
    """

    layers: int
    width: int
    feed_forward: int
    decoder: int = 0

    @classmethod
    def of(cls, config: Any) -> Shape:
        """A transformer's shape by its configuration, by whatever names that has."""
        width = int(config.hidden_size)
        names = ("intermediate_size", "n_inner", "encoder_ffn_dim")
        inner = next((found for name in names if (found := getattr(config, name, None))), None)
        both = getattr(config, "is_encoder_decoder", False)
        decoder = int(getattr(config, "decoder_layers", 0) or 0) if both else 0
        return cls(int(config.num_hidden_layers), width, int(inner or 4 * width), decoder)

    def first(self, layers: int | None) -> Shape:
        """The shape of its first layers; its own for None."""
        return self if layers is None else replace(self, layers=layers)

    def forward_gflops(self, rows: int, length: int) -> float:
        """GFLOPs of one forward pass over `rows` texts of `length` tokens; a multiply-add is 2.

        A layer: four d × d projections and two d × feed_forward ones a token, and 2 · length · d
        multiply-adds a token for attention scores and their weighted sum. A decoder's layer attends twice.
        """
        attention = 4 * self.width**2 + 2 * length * self.width
        layer = attention + 2 * self.width * self.feed_forward
        whole = self.layers * layer + self.decoder * (layer + attention)
        return rows * length * 2 * whole / 1e9
