"""A rejector that reads: the Bayes allocation from what stands in question and passage."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.defer.adapted import Part, Reads, learn, outputs
from pointsman.defer.surrogate import deferral
from pointsman.training.loop import Plan
from tiny import write_tiny

QUICK = Plan(measure=None, epochs=16, learning_rate=5e-3, evaluations=1)
READS = Reads(layers=1, max_length=32, rank=4, batch_size=16, plan=QUICK)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny(tmp_path_factory.mktemp("tiny"))
    return Backbone.load(folder, device="cpu", dtype="fp32", attention="eager")


def world(n: int, seed: int) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Who is cheaper depends on whether the passage speaks of what is asked."""
    rng = np.random.default_rng(seed)
    words = ["cat", "dog", "red", "blue"]
    pairs, costs = [], []
    for _ in range(n):
        asked = words[rng.integers(4)]
        same = rng.random() < 0.5
        other = asked if same else words[(words.index(asked) + 1 + rng.integers(3)) % 4]
        pairs.append((f"what of {asked}", f"here comes the {other}"))
        costs.append([0.1, 0.9] if same else [0.9, 0.1])
    return pairs, np.array(costs, dtype=np.float32)


def test_it_learns_to_allocate_by_reading(backbone: Backbone, tmp_path: Path) -> None:
    pairs, costs = world(480, seed=0)
    loss = partial(deferral, u=1.0, kind="shifted")
    found = learn(backbone, pairs, costs, loss, "shifted", READS, tmp_path)
    asked, truth = world(120, seed=1)
    said = outputs(backbone, found, asked, READS)
    assert (said.argmax(axis=1) == truth.argmin(axis=1)).mean() > 0.9
    # Only the layers that it reads are in it, and the order of pairs does not matter.
    assert all("layer.0" in name for name in found.adapter.layers)
    np.testing.assert_allclose(
        outputs(backbone, found, asked[::-1], READS)[::-1], said, rtol=1e-4, atol=1e-4
    )
    # The same again goes on from where it was: at the end.
    again = learn(backbone, pairs, costs, lambda *_: 1 / 0, "shifted", READS, tmp_path)
    assert torch.equal(again.weight, found.weight)


def test_before_it_learned_it_says_nothing(backbone: Backbone) -> None:
    fresh = Part.fresh(backbone, 3, replace(READS, layers=None))
    assert not outputs(backbone, fresh, [("what", "that"), ("", "")], READS).any()
    assert outputs(backbone, fresh, [], READS).shape == (0, 3)
