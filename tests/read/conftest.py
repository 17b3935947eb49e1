"""A tiny backbone and a reader with a random head: its answers mean nothing, its arithmetic does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.read.head import SpanHead
from pointsman.read.reader import ReaderSettings, SpanReader
from tiny import WIDTH, write_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Backbone:
    return Backbone.load(tiny_folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="session")
def reader(tiny: Backbone) -> SpanReader:
    generator = torch.Generator().manual_seed(11)
    head = SpanHead(
        {
            "weight": torch.randn(2, WIDTH, generator=generator) / 3,
            "bias": torch.tensor([0.2, -0.1]),
        }
    )
    return SpanReader(tiny, head, None, ReaderSettings(max_length=40, overlap=8, answer_width=5))
