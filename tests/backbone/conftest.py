"""Backbones that the tests of this room share; whoever adds an adapter takes it away again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.backbone.encoder import Backbone
from tiny import write_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Backbone:
    return Backbone.load(tiny_folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="session")
def default() -> Backbone:
    return Backbone.load(device="cpu", dtype="fp32")
