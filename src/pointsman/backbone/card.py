"""A specialist described: for people as Markdown, for the hub as YAML front matter, in a few facts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pointsman.backbone.lora import LoraAdapter
from pointsman.backbone.specialist import Specialist
from pointsman.backbone.weights import DEFAULT_NAME, DEFAULT_SHA256

# A query expert: an adapter alone, that moves queries in the space of the base's documents.
ENCODER = "encoder"

# Licences by the hub's names for them; it refuses a card that makes up another one.
_HUB_LICENCES = frozenset(
    {
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "mpl-2.0"),
        *("cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "odc-by", "pddl"),
    }
)
_FRONT = re.compile(r"\A---\n(.*?\n)?---\n+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Extent:
    """What an adapter adapts: its ranks, how many linear maps, in which transformer layers."""

    ranks: tuple[int, ...]
    linear: int
    layers: tuple[int, ...]

    @classmethod
    def of(cls, adapter: LoraAdapter) -> Extent:
        """Read off an adapter's matrices and the names of their layers."""
        numbers = {
            int(match[1])
            for name in adapter.layers
            if (match := re.search(r"(?:^|\.)(\d+)\.", name)) is not None
        }
        ranks = {pair.a.shape[0] for pair in adapter.layers.values()}
        return cls(tuple(sorted(ranks)), len(adapter.layers), tuple(sorted(numbers)))

    def __str__(self) -> str:
        return ", ".join(self.facts)

    @property
    def facts(self) -> tuple[str, ...]:
        """The same, one by one: rank 32; 36 linear maps; layers 0–5."""
        layers = (f"layers {_span(self.layers)}",) if self.layers else ()
        return (f"rank {_span(self.ranks)}", f"{self.linear} linear maps", *layers)


def main_number(numbers: Mapping[str, Any]) -> tuple[str, float] | None:
    """The number on dev that a specialist was chosen by, and its measure's name; None without one."""
    dev = numbers.get("dev")
    if not isinstance(dev, Mapping) or not isinstance(dev.get("best"), int | float):
        return None
    return str(dev.get("measure", "dev")), float(dev["best"])


def licences(specialist: Specialist) -> tuple[str, ...]:
    """The licences of all that it was made from, each once; none where nothing is said.

    They stand in its training record, by data set or as that of its data, or else in the column of its
    card's table that is called so.
    """
    recorded = specialist.training.get("licences")
    if isinstance(recorded, Mapping):
        return tuple(dict.fromkeys(str(each) for each in recorded.values()))
    data = specialist.training.get("data")
    if isinstance(data, Mapping) and data.get("licence"):
        return (str(data["licence"]),)
    found: list[str] = []
    column: int | None = None
    for line in specialist.card.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif column is None:
            column = cells.index("licence") if "licence" in cells else None
        elif column < len(cells) and set(cells[column]) - set(":-"):
            found.append(cells[column])
    return tuple(dict.fromkeys(found))


def hub_base(specialist: Specialist) -> str | None:
    """The base's name on the hub, or None where it has none that is known."""
    if specialist.base_sha256 == DEFAULT_SHA256:
        return f"sentence-transformers/{DEFAULT_NAME}"
    return specialist.base_name if "/" in specialist.base_name else None


def front_matter(
    specialist: Specialist, library: str = "peft", tags: Sequence[str] = ("lora",)
) -> str:
    """YAML that the hub reads; a licence only where all of its data have the same, known one."""
    import yaml

    said = [each.lower().replace(" ", "-") for each in licences(specialist)]
    values: dict[str, Any] = {"library_name": library}
    if base := hub_base(specialist):
        values["base_model"] = base
    if len(said) == 1 and said[0] in _HUB_LICENCES:
        values["license"] = said[0]
    values["tags"] = ["pointsman", *tags, specialist.kind]
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n\n"


def read_front_matter(card: str) -> Mapping[str, Any]:
    """What a card's YAML says; nothing where there is none or it cannot be read."""
    import yaml

    match = _FRONT.match(card)
    try:
        values = yaml.safe_load(match[1] or "") if match else None
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def without_front_matter(card: str) -> str:
    """A card as people read it."""
    return _FRONT.sub("", card)


def encoder_card(specialist: Specialist) -> str:
    """Markdown about a query expert: what it is, where it comes from, how it did."""
    training, licence = specialist.training, licences(specialist)
    lines = [
        f"# {specialist.name}: a query encoder",
        "",
        f"A LoRA adapter ({Extent.of(specialist.adapter)}; {specialist.adapter.parameters:,} weights) "
        f"on {specialist.base_name}, whose weights have SHA-256 {specialist.base_sha256[:12]}…. "
        "Queries go through it; documents stay encoded by the base alone.",
        "",
        "## Where it comes from",
        "",
        *_origin(training),
        f"Licence: {', '.join(licence) if licence else 'none is stated there; ask its authors'}.",
        "",
        "## Measured",
        "",
        *(_measured(specialist.numbers) or ["Nothing yet."]),
        "",
    ]
    return "\n".join(lines)


def _origin(training: Mapping[str, Any]) -> list[str]:
    if "source" not in training:
        return ["    " + str(training["command"]), ""] if "command" in training else []
    revision = f" at revision {training['revision']}" if training.get("revision") else ""
    base = training.get("source_base")
    made = f" Its configuration names {base} as its base." if base else ""
    return [
        f"Imported from the PEFT folder {training['source']}{revision}.{made} SHA-256 of its weights:",
        "",
        f"    {training['source_sha256']}",
        "",
    ]


def _measured(numbers: Mapping[str, Any]) -> list[str]:
    main = main_number(numbers)
    return [] if main is None else [f"Best {main[0]} on dev: {main[1]:.4g}."]


def _span(numbers: Sequence[int]) -> str:
    """Ascending numbers: 8, or 0–5 where none between is left out, or 2, 4, 8."""
    if len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(map(str, numbers))
