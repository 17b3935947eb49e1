"""`pointsman info`: what a workspace is and holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pointsman.cli.options import Json, Space
from pointsman.cli.output import Output
from pointsman.errors import PointsmanError

if TYPE_CHECKING:
    from pointsman.workspace import Workspace

EXAMPLES = """
Examples:
  pointsman info my-space
  pointsman info my-space --json
"""

# So many passages come out of the index at a time.
_AT_ONCE = 5_000


def info(space: Space, json: Json = False) -> None:
    """Show what a workspace holds.

    Its settings and where each comes from, its index, its reader, grader and selector, its agents, its query experts. What cannot be used is named with the reason.
    """
    from pointsman.workspace import Workspace

    output = Output(json)
    with Workspace.open(space) as workspace, output.working("looking") as working:
        settings = dict(_settings(workspace))
        index = _index(workspace, lambda done: working.say(f"counting documents: {done:,}"))
        reader = _specialist("reader", lambda: workspace.reader_folder)
        grader = _specialist("grader", lambda: workspace.grader_folder)
        if workspace.pretrained_grader is not None:
            grader = {"model": workspace.pretrained_grader}
        selector = _specialist("selector", lambda: workspace.selector_folder)
        experts = _experts(workspace)
        agents = {agent.name: agent.where for agent in workspace.settings.agents}
        allocator = workspace.settings.defer.allocator
    output.show(
        Text(f"{workspace.path}{' (read-only)' if workspace.read_only else ''}", "bold"),
        "",
        _grid(
            {name: f"{_text(each['value'])}  ({each['from']})" for name, each in settings.items()}
        ),
        "",
        Text("Index", "bold"),
        _grid(_flat(index)),
        "",
        Text("Reader", "bold"),
        _grid(_flat(reader or {})),
        "",
        Text("Grader", "bold"),
        _grid(_flat(grader or {"none": "every passage that is found goes on"})),
        "",
        Text("Selector", "bold"),
        _grid(_flat(selector or {"none": "the first passages are read"})),
        "",
        Text("Agents", "bold"),
        _grid({"reader": "here", **agents, "allocator": allocator}),
        "",
        Text("Experts", "bold"),
        _grid(_flat(experts | {"used": ", ".join(experts.get("used", ())) or "none"})),
    )
    output.document(
        {
            "workspace": str(workspace.path),
            "read_only": workspace.read_only,
            "settings": settings,
            "index": index,
            "reader": reader,
            "grader": grader,
            "selector": selector,
            "agents": agents,
            "allocator": allocator,
            "experts": experts,
        }
    )


def _settings(workspace: Workspace) -> Iterator[tuple[str, dict[str, Any]]]:
    import yaml

    from pointsman.settings import ENVIRONMENT_PREFIX
    from pointsman.workspace import SETTINGS_FILE

    path = workspace.path / SETTINGS_FILE
    written = dict(_walk(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
    for name, value in _walk(workspace.settings.model_dump()):
        variable = ENVIRONMENT_PREFIX + name.upper().replace(".", "__")
        if os.environ.get(variable, "").strip():
            origin = variable
        else:
            origin = SETTINGS_FILE if name in written else "default"
        yield name, {"value": value, "from": origin}


def _index(workspace: Workspace, progress: Any) -> dict[str, Any]:
    from pointsman.retrieve.lance import LanceIndex

    uri = workspace.index_uri
    if "://" not in uri and not LanceIndex.exists(uri):
        return {"passages": 0, "note": "nothing is indexed yet"}
    try:
        with LanceIndex.open(uri, read_only=True) as index:
            ids = index.ids()
            documents: set[str] = set()
            for start in range(0, len(ids), _AT_ONCE):
                documents.update(p.document for p in index.get(ids[start : start + _AT_ONCE]))
                progress(len(documents))
            return {
                "passages": len(ids),
                "documents": len(documents),
                "encoder": asdict(index.identity),
            }
    except PointsmanError as error:
        return {"problem": str(error)}


def _specialist(kind: str, where: Callable[[], Path | None]) -> dict[str, Any] | None:
    """What the settings name, or None where they name none."""
    from pointsman.backbone.specialist import load_specialist

    try:
        folder = where()
        if folder is None:
            return None
        found = load_specialist(folder, kind)
    except PointsmanError as error:
        return {"problem": str(error)}
    return {
        "name": found.name,
        "folder": str(folder),
        "base": {"name": found.base_name, "sha256": found.base_sha256},
        "weights": found.adapter.parameters,
        "numbers": dict(found.numbers),
    }


def _experts(workspace: Workspace) -> dict[str, Any]:
    try:
        on = workspace.settings.route.router != "base"
        return {
            "used": list(workspace.experts) if on else [],
            "left_out": dict(workspace.left_out) if on else {},
        }
    except PointsmanError as error:
        return {"problem": str(error)}


def _walk(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """For people: hashes by their beginning, numbers rounded, no histories."""
    shown = {}
    for name, value in _walk(values):
        if isinstance(value, list):
            continue
        shown[name] = f"{value[:12]}…" if name.endswith("sha256") else _text(value)
    return shown


def _text(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}"
    return str(value)


def _grid(rows: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        grid.add_row(Text(f"  {name}", "cyan"), Text(value))
    return grid
