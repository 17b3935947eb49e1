"""What an allocator's own folder says of its training: whom it asked at a price, and which models they were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pointsman.backbone.specialist import SPECIALIST_FILE
from pointsman.defer.saved import DESCRIPTION
from pointsman.errors import ConfigError, SpecialistError


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


def promised(folder: Path, price: float, error: float) -> float:
    """The least chance of an answer at a price, so that no more than a share `error` of the given ones is wrong.

    Raises ConfigError for a price or a share that was not measured, and where nothing can be promised;
    SpecialistError where the folder does not say.
    """
    path = _description(folder)
    try:
        at = json.loads(path.read_text(encoding="utf-8"))["numbers"]["at"]
        known = {
            float(each["price"]): {float(p["error"]): p["least"] for p in each["promises"]}
            for each in at
        }
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise SpecialistError(f"{path}: corrupt ({wrong!r}); copy or train it again") from wrong
    if not any(known.values()):
        raise ConfigError(
            f"{folder.name} promises nothing: it does not look at answers, or learned from F1; train one with "
            "--policy look and --measure em"
        )
    if price not in known:
        raise ConfigError(
            f"what {folder.name} promises was not measured at the price {price:g}, but at "
            f"{', '.join(f'{each:g}' for each in known)}"
        )
    if error not in known[price]:
        raise ConfigError(
            f"{folder.name} promises at most {', '.join(f'{each:g}' for each in known[price])} of the given "
            f"answers wrong, not {error:g}"
        )
    least = known[price][error]
    if least is None:
        raise ConfigError(
            f"at the price {price:g} it cannot be promised that at most {error:g} of the given answers is "
            "wrong; promise less, or train the allocator on more questions"
        )
    return float(least)


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
