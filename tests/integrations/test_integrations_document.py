"""Every example of docs/integrations.md runs, in order, in a folder that holds `my-space`."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from pointsman.backbone.encoder import Backbone
from spaces import make_space, write_notes

DOCUMENT = Path(__file__).parents[2] / "docs" / "integrations.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def imported(source: str) -> set[str]:
    """The top-level packages that a piece of source imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_every_example_runs(
    tmp_path: Path,
    backbone: Backbone,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with make_space(tmp_path / "my-space", backbone, tiny_folder) as space:
        space.index([write_notes(tmp_path / "notes")])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))
    names: dict[str, Any] = {}
    ran = []
    for source in BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")):
        needed = imported(source)
        if all(importlib.util.find_spec(package) for package in needed):
            exec(compile(source, str(DOCUMENT), "exec"), names)
            ran.append(needed)
    installed = {name for name in ("mteb", "beir") if importlib.util.find_spec(name)}
    assert len(ran) == 2 + len(installed)
    assert "bridges.md" in capsys.readouterr().out
