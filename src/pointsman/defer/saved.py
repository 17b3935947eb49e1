"""A learned cascade on disk: its arrays, what it was learned for, and a card for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import read_safetensors
from pointsman.backbone.specialist import SPECIALIST_FILE
from pointsman.backbone.whole import check_only_over, whole_folder
from pointsman.defer.allocator import CascadeAllocator, Judge
from pointsman.defer.before import Directions, Stored
from pointsman.defer.cascade import Cascade
from pointsman.defer.cost import Times
from pointsman.defer.foresight import Foresight
from pointsman.defer.logistic import Logistic
from pointsman.defer.verifier import Logit, Verifier
from pointsman.errors import BackboneMismatchError, ConfigError, SpecialistError

DESCRIPTION, WEIGHTS = "allocator.json", "allocator.safetensors"
KIND = "allocator"
"""What a specialist is called whose adapter decides before anybody is asked."""
FORMAT_VERSION = 6


def save_allocator(
    folder: Path,
    backbone: Backbone,
    agents: Sequence[str],
    directions: Directions,
    cascade: Cascade,
    record: Mapping[str, Any],
    card: str,
) -> None:
    """Write a cascade aside and move it into place. Raises SpecialistError, ReadOnlyError."""
    from safetensors.torch import save_file

    tensors = {f"directions.{k}": getattr(directions, k) for k in ("mean", "main")}
    foresight = cascade.foresight
    tensors |= {f"easy.{k}": getattr(foresight.easy, k) for k in _LOGISTIC}
    tensors |= {f"near.{k}": getattr(foresight, k) for k in _NEAR}
    tensors |= {k: getattr(cascade, k) for k in _RECORD}
    for k, verifier in enumerate(cascade.verifiers):
        if verifier is not None:
            tensors |= {f"{k}.logit.{n}": getattr(verifier.logit, n) for n in _LOGIT}
            tensors |= {f"{k}.best.{n}": getattr(verifier.best_right, n) for n in _LOGISTIC}
    description = {
        "format_version": FORMAT_VERSION,
        "base": {"sha256": backbone.identity.sha256, "name": backbone.identity.name},
        "agents": list(agents),
        "stations": cascade.stations.astype(int).tolist(),
        **record,
    }
    with whole_folder(folder, check_allocator_replaceable) as aside:
        save_file(
            {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in tensors.items()},
            aside / WEIGHTS,
        )
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (aside / DESCRIPTION).write_text(text, encoding="utf-8")
        (aside / "README.md").write_text(card, encoding="utf-8")


def load_allocator(
    folder: Path,
    backbone: Backbone,
    agents: Sequence[str],
    units: Sequence[float],
    judge: Judge | None = None,
    stored: Stored | None = None,
    times: Times | None = None,
    alpha: Sequence[float] | None = None,
) -> CascadeAllocator:
    """Read a cascade for these agents; `judge` is asked where it was trained with one, `stored` has passages'
    vectors, `times` says how much more than usual a question takes, and `alpha` [A] what an error weighs.

    Raises SpecialistError where it is corrupt, BackboneMismatchError where it was trained on another
    base, ConfigError where it was trained for other agents, or with a reader that looks and there is none.
    """
    path = folder / DESCRIPTION
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        base, names = known["base"], [str(name) for name in known["agents"]]
        stations = np.array(known["stations"], dtype=bool)
        version, looks = int(known["format_version"]), bool(known.get("looks", False))
    except FileNotFoundError:
        raise SpecialistError(f"{folder}: not an allocator (no {DESCRIPTION})") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecialistError(f"{path}: corrupt ({error!r}); copy or train it again") from error
    if version > FORMAT_VERSION:
        raise SpecialistError(
            f"{folder}: format {version} is newer than this Pointsman knows ({FORMAT_VERSION}); upgrade it"
        )
    if version < FORMAT_VERSION:
        raise SpecialistError(
            f"{folder}: format {version} knows less of questions and answers than this Pointsman asks about; "
            "train it again"
        )
    check_base(folder, base["sha256"], base["name"], backbone)
    if looks and judge is None:
        raise ConfigError(
            f"{folder.name} was trained with a reader that looks at the passages; it needs one here too"
        )
    found = {k: v.numpy() for k, v in read_safetensors(folder / WEIGHTS).items()}

    def part(prefix: str, names: Sequence[str]) -> list[Any]:
        return [found[f"{prefix}.{name}"] for name in names]

    try:
        verifiers = [
            Verifier(
                asked, Logit(*part(f"{k}.logit", _LOGIT)), Logistic(*part(f"{k}.best", _LOGISTIC))
            )
            if asked.any()
            else None
            for k, asked in enumerate(stations)
        ]
        foresight = Foresight(Logistic(*part("easy", _LOGISTIC)), *part("near", _NEAR))
        hints, chances, sure, right, parts = (found[name] for name in _RECORD)
        parts = parts.astype(np.int64)
        cascade = Cascade(stations, verifiers, foresight, hints, chances, sure, right, parts)
        directions = Directions(*part("directions", ("mean", "main")))
    except (KeyError, ValueError, IndexError) as error:
        raise SpecialistError(f"{folder / WEIGHTS}: corrupt ({error!r}); train it again") from error
    judge = judge if looks else None
    return CascadeAllocator(
        backbone, names, directions, cascade, agents, units, judge, stored, times, alpha
    )


def check_base(folder: Path, sha256: str, name: str, backbone: Backbone) -> None:
    """Raise BackboneMismatchError where an allocator was trained on another base."""
    if sha256 != backbone.identity.sha256:
        raise BackboneMismatchError(
            f"{folder.name} was trained on the base {name}, this one is {backbone.identity.name}"
        )


def check_allocator_replaceable(folder: Path) -> None:
    """Raise SpecialistError where something other than an allocator, of either layout, would be overwritten."""
    if not (folder / SPECIALIST_FILE).is_file():
        check_only_over(folder, DESCRIPTION, "an allocator")
        return
    try:
        kind = json.loads((folder / SPECIALIST_FILE).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = "broken"
    if kind != KIND:
        raise SpecialistError(
            f"{folder}: is there and is not an allocator ({kind}), so it is not replaced; name another place"
        )


_LOGISTIC = ("mean", "spread", "weights", "bias")
_NEAR = ("vectors", "right")
_RECORD = ("hints", "chances", "sure", "right", "parts")
_LOGIT = ("mean", "spread", "weights")
