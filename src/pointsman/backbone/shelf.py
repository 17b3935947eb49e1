"""Specialists as they lie in a directory: finding them, and checking every file of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.backbone.lora import CONFIG_FILE, WEIGHTS_FILE
from pointsman.backbone.specialist import (
    CARD_FILE,
    HEAD_FILE,
    SPECIALIST_FILE,
    Specialist,
    load_specialist,
)
from pointsman.backbone.weights import Weights, file_sha256
from pointsman.errors import BackboneMismatchError, InputError, ModelError, SpecialistError

# A folder with one of these was meant to be a specialist, whatever it lacks.
_SIGNS = (SPECIALIST_FILE, CONFIG_FILE, WEIGHTS_FILE, HEAD_FILE)


@dataclass(frozen=True)
class Found:
    """A folder that is a specialist, or says in `fault` why it is none. `size` counts bytes."""

    folder: Path
    size: int
    specialist: Specialist | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one part of a specialist: a file, or the base that it was made on."""

    part: str
    fine: bool
    said: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was found of one specialist."""

    folder: Path
    findings: tuple[Finding, ...]

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong with it."""
        return all(finding.fine for finding in self.findings)


def folders(place: Path) -> list[Path]:
    """The specialists' folders in a directory, by name; a specialist itself is the only one of its own.

    Raises InputError where there is no such directory.
    """
    try:
        if _is_one(place):
            return [place]
        inside = [path for path in place.iterdir() if not path.name.startswith(".")]
        return sorted(path for path in inside if path.is_dir() and _is_one(path))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{place}: no such directory") from None
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror})") from error


def find(place: Path) -> list[Found]:
    """Every specialist in a directory; what is broken is found too, with its fault."""
    return [_look(folder) for folder in folders(place)]


def verify(folder: Path, base: Weights) -> Verification:
    """Check each file against its recorded SHA-256, read all tensors, compare the base's hash."""
    recorded = _recorded(folder)
    there = {path.name for path in folder.iterdir() if path.is_file()}
    hashes = [_hash(folder / name, recorded.get(name)) for name in sorted(there | recorded.keys())]
    try:
        found = load_specialist(folder)
    except (ModelError, OSError) as error:
        # Where a hash is wrong, loading says so again; any other fault is news.
        if all(finding.fine for finding in hashes):
            hashes.append(Finding("contents", False, str(error)))
        return Verification(folder, tuple(hashes))
    contents = Finding(
        "contents",
        True,
        f"{len(found.adapter.layers)} adapted layers, {found.adapter.parameters:,} weights, "
        f"{len(found.head)} tensors of a head",
    )
    same = found.base_sha256 == base.sha256
    said = f"{found.base_name} {found.base_sha256[:12]}…"
    other = f"made on {said}, this one is {base.name} {base.sha256[:12]}…"
    return Verification(
        folder, (*hashes, contents, Finding("base", same, f"{said}, the same" if same else other))
    )


def check_base(specialist: Specialist, base: Weights) -> None:
    """Raise BackboneMismatchError, naming both, where a specialist was made on another base."""
    if specialist.base_sha256 != base.sha256:
        raise BackboneMismatchError(
            f"{specialist.name} was made on {specialist.base_name} ({specialist.base_sha256[:12]}…), "
            f"this base is {base.name} ({base.sha256[:12]}…); name the right one with --backbone"
        )


def _is_one(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SIGNS)


def _look(folder: Path) -> Found:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    try:
        return Found(folder, size, load_specialist(folder))
    except (ModelError, OSError) as error:
        return Found(folder, size, fault=str(error))


def _recorded(folder: Path) -> Mapping[str, str]:
    """File names and hashes of a description; none where it cannot be read, which loading tells."""
    try:
        description: Any = json.loads((folder / SPECIALIST_FILE).read_text(encoding="utf-8"))
        return {str(name): str(sha256) for name, sha256 in description["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _hash(file: Path, expected: str | None) -> Finding:
    if not file.is_file():
        return Finding(file.name, False, "missing")
    try:
        found = file_sha256(file)
    except OSError as error:
        return Finding(file.name, False, f"cannot be read ({error.strerror})")
    if expected is None:
        known = file.name in (SPECIALIST_FILE, CONFIG_FILE, CARD_FILE)
        said = "no hash is recorded" if known else "not a part of a specialist"
        return Finding(file.name, True, f"SHA-256 {found[:12]}…, {said}")
    if found != expected:
        return Finding(file.name, False, f"SHA-256 {found[:12]}…, recorded is {expected[:12]}…")
    return Finding(file.name, True, f"SHA-256 {found[:12]}…, as recorded")


def named(name: str, shipped: Path) -> Path:
    """A specialist's folder by its path, or by its name in the directory of those that ship.

    Raises SpecialistError where there is neither.
    """
    path = Path(name).expanduser()
    if (path / SPECIALIST_FILE).is_file():
        return path
    if name and (shipped / name / SPECIALIST_FILE).is_file():
        return shipped / name
    if path.is_dir():
        raise SpecialistError(f"{path}: not a specialist (no {SPECIALIST_FILE})")
    known = ", ".join(folder.name for folder in folders(shipped)) if shipped.is_dir() else ""
    raise SpecialistError(
        f"{name}: no such directory, and no specialist of that name ships (these do: {known or 'none'})"
    )
