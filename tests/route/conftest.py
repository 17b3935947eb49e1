"""The base and the documents that the tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from domains import make_documents
from pointsman.backbone.encoder import Backbone
from pointsman.collection.judged import Documents
from tiny import write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    return Backbone.load(folder, device="cpu", dtype="fp32", attention="eager")


@pytest.fixture(scope="session")
def documents(tiny: Backbone) -> Documents:
    return make_documents(tiny)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
