"""The test bed's layout (docs/data.md): which file is which part, and which weights may ship."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.data.beir import read_queries
from pointsman.data.nq import read_oracle, reading_examples
from pointsman.data.splits import refuse_overlap, without
from pointsman.data.squad import read_squad
from pointsman.errors import InputError
from pointsman.types import ReadingExample

RETRIEVAL_SETS = (
    "scifact",
    "covidqa",
    "climate-fever",
    "cosqa",
    "newwiki",
    "amazon",
    "homedepot",
    "nq",
    "cranfield",
    "medline",
    "cisi",
    "cacm",
    "npl",
)

ROUTING_SEEN = ("scifact", "covidqa", "climate-fever", "cosqa", "newwiki", "amazon", "homedepot")
"""The sets that query experts are trained for in the routing tables."""
ROUTING_UNSEEN = ("cranfield", "medline", "cisi", "cacm", "npl", "nq")
"""The sets that no expert is trained for there."""


@dataclass(frozen=True, slots=True)
class ReadingSet:
    """An extractive set in three parts. `ships` says whether weights trained on it may be given away."""

    name: str
    licence: str
    ships: bool

    def read(self, data: Path, part: str) -> list[ReadingExample]:
        """The questions of "train", "dev" or "test"."""
        if self.name == "nq-oracle":
            ids = {query.text: query.id for query in read_queries(data / "beir" / "nq")}
            return list(
                reading_examples(read_oracle(data / f"agents/nq-oracle-{part}.jsonl", ids)).examples
            )
        return list(read_squad(data / "squad" / f"{self.name}-{part}.json"))


READING_SETS = (
    ReadingSet("squad-articles", "CC BY-SA 4.0", ships=True),
    ReadingSet("squadshifts-newwiki", "CC BY 4.0", ships=True),
    ReadingSet("squadshifts-amazon", "CC BY 4.0", ships=True),
    ReadingSet("covidqa", "Apache-2.0", ships=True),
    ReadingSet("nq-oracle", "CC BY-SA 3.0", ships=True),
)


def reading_part(data: Path, part: str) -> dict[str, list[ReadingExample]]:
    """One part of every extractive set that a shipped reader may be trained on."""
    check(data)
    return {each.name: each.read(data, part) for each in READING_SETS if each.ships}


def training_parts(
    data: Path,
) -> tuple[dict[str, list[ReadingExample]], dict[str, list[ReadingExample]]]:
    """Train and dev parts without any question of a test part.

    A training question that stands in a test part is refused, for the parts are made so that there
    is none. Among dev questions a few of the most general ("how big is the tank") were asked about
    another product in the test part too: those are left out, since tuning on dev is tuning.
    """
    train, dev = reading_part(data, "train"), reading_part(data, "dev")
    test = _questions(reading_part(data, "test").values())
    refuse_overlap(_questions(train.values()), test, "the training part")
    kept = {
        name: without(part, test, lambda example: example.question) for name, part in dev.items()
    }
    return train, kept


def check(data: Path) -> None:
    """Raise InputError where the directory is not laid out as the test bed is."""
    missing = [name for name in ("beir", "squad", "agents") if not (data / name).is_dir()]
    if missing:
        raise InputError(
            f"{data}: not the test bed (no {', '.join(missing)} in it); docs/data.md says how to make it"
        )


def _questions(parts: Iterable[Sequence[ReadingExample]]) -> list[str]:
    return [example.question for examples in parts for example in examples]
