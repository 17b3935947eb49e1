"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Nothing may leave the machine: a model hub that is asked for anything fails at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", default=None, help="the test bed (see docs/data.md)")


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The real data; tests that need it are skipped where it was not named."""
    given = request.config.getoption("--data")
    if given is None:
        pytest.skip("needs the test bed: make test-data DATA=...")
    path = Path(str(given))
    if not path.is_dir():
        pytest.fail(f"--data {path}: no such directory")
    return path
