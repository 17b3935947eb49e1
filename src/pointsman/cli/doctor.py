"""`pointsman doctor`: what is installed, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from pointsman.cli.options import Json
from pointsman.cli.output import Output
from pointsman.cli.places import cache_directory, can_be_written
from pointsman.errors import MissingDependencyError, PointsmanError

EXAMPLES = """
Examples:
  pointsman doctor
  pointsman doctor --json
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `remedy` says what to do where it is not `fine`; `needed` is for running."""

    name: str
    fine: bool
    found: str
    remedy: str = ""
    needed: bool = True


def doctor(json: Json = False) -> None:
    """Check this installation.

    Packages, device, models, directories. Downloads nothing. Leaves with exit code 7 where something that is needed is missing.
    """
    output = Output(json)
    with output.working("looking"):
        checks = list(examine())
    failed = [check for check in checks if check.needed and not check.fine]
    output.show(_table(checks))
    output.show("" if failed else "All that is needed is here.")
    output.document(
        {
            "fine": not failed,
            "checks": [asdict(check) for check in checks],
        }
    )
    if failed:
        raise typer.Exit(MissingDependencyError.exit_code)


def examine() -> Iterator[Check]:
    """Everything that can be said about an installation."""
    yield Check("python", True, f"{platform.python_version()}, {platform.system()}")
    yield from packages(importlib.metadata.requires("pointsman") or ())
    for name, look in (
        ("device", _device),
        ("encoder", _encoder),
        ("reader", lambda: _specialist("reader", "; or install pointsman again")),
    ):
        yield _guarded(name, look)
    # Only a workspace that names it needs one.
    yield replace(_guarded("grader", lambda: _specialist("grader")), needed=False)
    yield from directories()
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    yield Check(
        "model hub",
        True,
        "off (HF_HUB_OFFLINE is set)" if offline else "asked only for a model that you name",
        needed=False,
    )


def packages(requirements: Iterable[str]) -> Iterator[Check]:
    """The package's own requirements, from its metadata: each needed one, and each extra as one."""
    from packaging.requirements import Requirement

    extras: dict[str, list[str]] = {}
    yield Check("pointsman", True, importlib.metadata.version("pointsman"))
    for text in requirements:
        requirement = Requirement(text)
        problem, version = _installed(requirement.name, requirement.specifier.contains)
        extra = _extra(requirement.marker)
        if extra is not None:
            missing = extras.setdefault(extra, [])
            if problem:
                missing.append(requirement.name)
        elif requirement.marker is None or requirement.marker.evaluate():
            wanted = f"{requirement.name}{requirement.specifier}"
            yield Check(
                requirement.name, not problem, problem or version, f"pip install '{wanted}'"
            )
    for extra, missing in extras.items():
        yield Check(
            f"extra: {extra}",
            not missing,
            f"not installed: {', '.join(missing)}" if missing else "installed",
            f"pip install 'pointsman[{extra}]'",
            needed=False,
        )


def directories() -> Iterator[Check]:
    """Where runs are kept, and where a workspace would be made."""
    cache = cache_directory()
    yield Check(
        "cache",
        can_be_written(cache),
        str(cache),
        "not writable; name another directory with POINTSMAN_CACHE",
        needed=False,
    )
    yield Check(
        "this directory",
        can_be_written(Path()),
        "can be written" if can_be_written(Path()) else "cannot be written",
        "make workspaces elsewhere",
        needed=False,
    )


def _extra(marker: object) -> str | None:
    """The extra that a requirement's marker asks for, e.g. `extra == "dev"`."""
    _, found, rest = str(marker or "").partition("extra == ")
    return rest.split('"')[1] if found else None


def _installed(name: str, accepts: Callable[..., bool]) -> tuple[str, str]:
    """What is wrong with a package ("" if nothing), and its version."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed", ""
    if not accepts(version, prereleases=True):
        return f"{version}, another version is needed", version
    return "", version


def _guarded(name: str, look: Callable[[], tuple[str, str]]) -> Check:
    """A look that may fail in any way: a broken installation is just what is being asked about."""
    try:
        found, remedy = look()
    except PointsmanError as error:
        return Check(name, False, "not usable", str(error))
    except Exception as error:
        return Check(name, False, "not usable", f"{type(error).__name__}: {error}")
    return Check(name, not remedy, found, remedy)


def _device() -> tuple[str, str]:
    from pointsman.backbone.device import choose_device, choose_dtype, cpu_has_bf16, dtype_name

    device = choose_device()
    dtype = dtype_name(choose_dtype(device))
    native = "bf16 in hardware" if cpu_has_bf16() else "no bf16 in hardware"
    return f"{device}, {dtype}" + (f" ({native})" if device.type == "cpu" else ""), ""


def _encoder() -> tuple[str, str]:
    from pointsman.backbone.weights import locate

    weights = locate()
    return f"{weights.name}, SHA-256 {weights.sha256[:12]}… as expected", ""


def _specialist(kind: str, remedy: str = "") -> tuple[str, str]:
    """The one that ships; its folder is called as its kind is."""
    from pointsman.backbone.specialist import load_specialist
    from pointsman.backbone.weights import DEFAULT_SHA256
    from pointsman.workspace import SHIPPED

    folder = SHIPPED / kind
    if not folder.is_dir():
        return "none ships", f"train one with `pointsman train {kind}`{remedy}"
    found = load_specialist(folder, kind)
    if found.base_sha256 != DEFAULT_SHA256:
        return found.name, f"made for the base {found.base_sha256[:12]}…; install pointsman again"
    return f"{found.name}, {found.adapter.parameters:,} weights", ""


def _table(checks: Sequence[Check]) -> Table:
    table = Table.grid(padding=(0, 2))
    for check in checks:
        sign, style = ("✓", "green") if check.fine else ("✗", "bold red")
        if not check.fine and not check.needed:
            sign, style = "○", "yellow"
        found = check.found if check.fine else f"{check.found}: {check.remedy}"
        table.add_row(Text(sign, style), Text(check.name), Text(found, overflow="fold"))
    return table
