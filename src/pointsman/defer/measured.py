"""What an allocator's own folder says of a price: whom it asked when it was trained."""

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
    path = folder / (SPECIALIST_FILE if (folder / SPECIALIST_FILE).is_file() else DESCRIPTION)
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))["numbers"]
        near = min(numbers["at"], key=lambda each: abs(each["price"] - price))
        # Before there was a choice it was dollars.
        unit = str(numbers.get("unit", "dollars"))
        return Measured(float(near["price"]), unit, float(near["right"]), tuple(near["asked"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecialistError(f"{path}: corrupt ({error!r}); copy or train it again") from error
