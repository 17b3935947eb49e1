"""A very small encoder, a reader that has learned nothing, and a workspace made with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import invoke, write_reader

from tiny import write_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=512)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that name a very small encoder and a reader on it."""
    reader = write_reader(tmp_path_factory.mktemp("specialists") / "untrained", tiny_folder)
    return {
        "POINTSMAN_BACKBONE": str(tiny_folder),
        "POINTSMAN_READ__READER": str(reader),
        "POINTSMAN_READ__MIN_CONFIDENCE": "0",
    }


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of someone's own: two texts, one of them empty of text, and a picture."""
    folder = tmp_path_factory.mktemp("own") / "docs"
    folder.mkdir()
    (folder / "colours.md").write_text(
        "# Colours\n\nThe colour of alpha is red. The colour of beta is blue.\n", "utf-8"
    )
    (folder / "letters.txt").write_text("Gamma follows beta. Delta follows gamma.\n", "utf-8")
    (folder / "blank.txt").write_text(" \n", "utf-8")
    (folder / "picture.txt").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture(scope="session")
def space(
    documents: Path, tiny: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A workspace that holds those documents."""
    made = tmp_path_factory.mktemp("spaces") / "space"
    result = invoke("index", made, documents, env=tiny)
    assert result.exit_code == 0, result.stderr
    return made
