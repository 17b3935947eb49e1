"""What an allocator's own folder says of its training: whom it asked at a price, and which models they were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pointsman.backbone.specialist import SPECIALIST_FILE
from pointsman.defer.saved import DESCRIPTION
from pointsman.errors import SpecialistError


@dataclass(frozen=True, slots=True)
class Measured:
    """At a price, costs being in a unit: the share of right answers, and of the questions that each agent
    was `asked` [A].
    """

    price: float
    unit: str
    right: float
    asked: tuple[float, ...]


def measured_near(folder: Path, price: float) -> Measured:
    """By questions it did not learn from, at that of the prices measured which is nearest.

    Raises SpecialistError where the folder does not say.
    """
    path = _description(folder)
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))["numbers"]
        near = min(numbers["at"], key=lambda each: abs(each["price"] - price))
        # Before there was a choice it was dollars.
        unit = str(numbers.get("unit", "dollars"))
        return Measured(float(near["price"]), unit, float(near["right"]), tuple(near["asked"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecialistError(f"{path}: corrupt ({error!r}); copy or train it again") from error


def models_then(folder: Path) -> dict[str, str]:
    """The digest of each agent's model when the allocator was trained, as `answered.models` gives it; empty
    where the folder does not say.

    Raises SpecialistError where it cannot be read.
    """
    path = _description(folder)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        # An adapter's settings stand in a section of their own.
        said = known.get("settings", known).get("models", {})
        return {str(name): str(digest) for name, digest in said.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise SpecialistError(f"{path}: corrupt ({error!r}); copy or train it again") from error


def _description(folder: Path) -> Path:
    specialist = folder / SPECIALIST_FILE
    return specialist if specialist.is_file() else folder / DESCRIPTION
