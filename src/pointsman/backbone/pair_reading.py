"""Pairs through a backbone, window by window: the features that heads on pairs look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.pair_features import feature_width, pair_features
from pointsman.backbone.pairs import Window
from pointsman.deadline import Deadline
from pointsman.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PairReading:
    """The `features` [windows, 4d] of pairs, whose window each is in `owner` [windows], a pair's windows
    in order, and what reading each pair took in `gflops` [pairs].
    """

    features: FloatArray
    owner: npt.NDArray[np.int64]
    gflops: npt.NDArray[np.float64]

    def of_first_windows(self) -> FloatArray:
        """The features of every pair's first window [pairs, 4d]."""
        return self.features[np.unique(self.owner, return_index=True)[1]]


def read_pairs(
    backbone: Backbone,
    pairs: Sequence[tuple[str, str]],
    adapter: str | None,
    max_length: int,
    overlap: int,
    deadline: Deadline | None = None,
) -> PairReading:
    """Every window of (question, passage) pairs, through an adapter or the frozen base."""
    gflops = np.zeros(len(pairs))
    places: list[tuple[int, int]] = []
    rows: list[FloatArray] = []
    for batch in backbone.tokens(
        pairs, adapter, max_length=max_length, overlap=overlap, deadline=deadline
    ):
        with torch.inference_mode():
            features = pair_features(batch.states, batch.mask, batch.passage_mask())
        rows.append(features.cpu().numpy())
        each = backbone.shape.forward_gflops(1, batch.states.shape[1])
        for window in batch.windows:
            places.append((window.pair, _start(window)))
            gflops[window.pair] += each
    if not rows:
        width = feature_width(backbone.shape.width)
        return PairReading(
            np.zeros((0, width), dtype=np.float32), np.zeros(0, dtype=np.int64), gflops
        )
    order = sorted(range(len(places)), key=places.__getitem__)
    owner = np.array([places[i][0] for i in order], dtype=np.int64)
    return PairReading(np.concatenate(rows)[order], owner, gflops)


def first_windows(
    backbone: Backbone, pairs: Sequence[tuple[str, str]], max_length: int, overlap: int
) -> list[Window]:
    """The first window of every pair, in order."""
    first: dict[int, Window] = {}
    for window in backbone.windows(pairs, max_length, overlap):
        first.setdefault(window.pair, window)
    return [first[pair] for pair in range(len(pairs))]


def _start(window: Window) -> int:
    """Where in its passage a window begins."""
    inside = window.offsets[window.offsets[:, 0] >= 0]
    return int(inside[0, 0]) if len(inside) else -1
