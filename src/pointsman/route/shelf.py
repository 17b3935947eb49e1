"""The query experts that a workspace may choose from: its own, and those that ship."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pointsman.backbone.card import ENCODER
from pointsman.backbone.shelf import folders
from pointsman.backbone.specialist import SPECIALIST_FILE, Specialist, load_specialist
from pointsman.backbone.specialist import check_name as check_specialist_name
from pointsman.backbone.weights import Weights
from pointsman.errors import InputError, ModelError
from pointsman.route.expert import Expert, expert_of
from pointsman.route.plain import BASE
from pointsman.types import BackboneIdentity


@dataclass(frozen=True, slots=True, eq=False)
class FoundExpert:
    """An expert's folder, and the expert, or in `reason` why it cannot be used.

    `specialist` is there whenever it could be read.
    """

    name: str
    folder: Path
    shipped: bool
    specialist: Specialist | None = None
    expert: Expert | None = None
    reason: str = ""


def check_name(name: str) -> None:
    """Raise InputError where an expert cannot be called so: it is the name of a folder, and not "base"."""
    if name == BASE:
        raise InputError(
            f"{BASE!r} is what the encoder itself is called; give the expert another name"
        )
    check_specialist_name(name, taken=())


def find_experts(
    own: Path, shipped: Path, base: Weights | BackboneIdentity
) -> dict[str, FoundExpert]:
    """The query experts in both directories, which need not exist, by name; `own` ones come first.

    One that cannot be used on this base is found too, with the reason. Specialists of other kinds
    are none of ours.
    """
    found = {each.name: each for each in _look(shipped, True, base)}
    found |= {each.name: each for each in _look(own, False, base)}
    return dict(sorted(found.items()))


def _look(place: Path, shipped: bool, base: Weights | BackboneIdentity) -> Iterator[FoundExpert]:
    if not place.is_dir():
        return
    for folder in folders(place):
        if _kind(folder) in (ENCODER, ""):
            yield _found(folder, shipped, base)


def _found(folder: Path, shipped: bool, base: Weights | BackboneIdentity) -> FoundExpert:
    name = folder.name
    try:
        specialist = load_specialist(folder, ENCODER)
        expert = expert_of(specialist)
    except (ModelError, OSError) as error:
        return FoundExpert(name, folder, shipped, reason=str(error))
    reason = ""
    if specialist.base_sha256 != base.sha256:
        reason = (
            f"made on {specialist.base_name} ({specialist.base_sha256[:12]}…), "
            f"the base here is {base.name} ({base.sha256[:12]}…)"
        )
    elif expert.domain is None:
        reason = "it has no domain to be chosen by; add it again with --queries FILE"
    else:
        try:
            check_name(name)
        except InputError as error:
            reason = str(error)
    usable = None if reason else expert
    return FoundExpert(name, folder, shipped, specialist, usable, reason)


def _kind(folder: Path) -> str:
    """What a specialist says it is, before anything else of it is read; "" where it does not say."""
    try:
        return str(json.loads((folder / SPECIALIST_FILE).read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
