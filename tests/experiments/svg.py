"""What every picture has to keep, and what an SVG file says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pointsman.errors import MissingDependencyError

Draw = Callable[[Path], Path]


def words(path: Path) -> list[str]:
    """Every text of an SVG file, in order."""
    namespace = "{http://www.w3.org/2000/svg}"
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{namespace}svg"
    return ["".join(node.itertext()).strip() for node in root.iter(f"{namespace}text")]


def check_same_every_time(draw: Draw, folder: Path) -> None:
    import matplotlib

    one = draw(folder / "deep" / "one.svg")
    # Nor does what a user likes change it.
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.grid": True}):
        two = draw(folder / "two.svg")
    assert one == folder / "deep" / "one.svg"
    assert one.read_bytes() == two.read_bytes()
    assert b"date" not in one.read_bytes()


def check_without_matplotlib(draw: Draw, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, and writes nothing."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pointsman\[experiments\]'"):
        draw(folder / "none.svg")
    assert not (folder / "none.svg").exists()
