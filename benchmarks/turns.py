"""Rivals measured in turn: one round runs each of them once, in random order, round after round.

What disturbs the machine then disturbs all of them alike, and a ratio within a round means
something where seconds do not.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.evaluate.tables import Cell


@dataclass(frozen=True)
class Turns:
    """Seconds of every way in every round."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, way: str) -> float:
        return float(np.median(self.seconds[way]))

    def ratio(self, way: str, to: str) -> tuple[float, float, float]:
        """Median and quartiles of one way's seconds over another's, round by round."""
        ratios = np.asarray(self.seconds[way]) / np.asarray(self.seconds[to])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        return float(middle), float(low), float(high)

    def row(self, way: str, to: str) -> list[Cell]:
        """Median ms, then the ratio and its quartiles, as cells of a table."""
        return [1000 * self.median(way), *self.ratio(way, to)]


def in_turn(
    ways: Mapping[str, Callable[[], object]], rounds: int, seed: int = 0, warm_up: int = 3
) -> Turns:
    """Run every way `rounds` times, after a warm-up, in an order drawn anew each round."""
    rng = random.Random(seed)
    for _ in range(warm_up):
        for run in ways.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        order = list(ways)
        rng.shuffle(order)
        for name in order:
            gc.collect()
            gc.disable()
            begin = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - begin)
            gc.enable()
    return Turns(seconds)
