"""An epoch's batches of items of similar length: little padding, and still a random draw."""

from __future__ import annotations

import random
from collections.abc import Sequence

# Batches' worth of items that are sorted together before they are cut into batches.
_SORTED_TOGETHER = 50


def similar_batches(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """The places of all items in batches of `size`, a function of lengths, seed and epoch alone."""
    rng = random.Random(seed * 1_000_003 + epoch)
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = []
    block = size * _SORTED_TOGETHER
    for i in range(0, len(order), block):
        alike = sorted(order[i : i + block], key=lambda item: lengths[item])
        batches += [alike[j : j + size] for j in range(0, len(alike), size)]
    rng.shuffle(batches)
    return batches
