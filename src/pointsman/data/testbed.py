"""The test bed's layout (docs/data.md): which file is which part, and which weights may ship."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.data.beir import read_queries
from pointsman.data.graded import GradedPair, Grading, Parts, read_graded, read_parts
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

RELEVANCE_GRADES = ("irrelevant", "weak", "strong")
HOMEDEPOT = Grading(RELEVANCE_GRADES, (2.0, 2.67))
"""Scores from 1 to 3, means of a few people's."""
HOMEDEPOT_LEVELS = Grading(
    tuple(f"score {level}" for level in ("1", "1.33", "1.67", "2", "2.33", "2.67", "3")),
    (1.33, 1.67, 2.0, 2.33, 2.67, 3.0),
)
"""A grade for each mean of three; the 59 means of four go to the level below."""
CROWDFLOWER = Grading(RELEVANCE_GRADES, (2.0, 4.0))
"""Median grades from 1 to 4."""
NO_RELEVANCE_EXPERTS = ("homedepot",)
"""Retrieval sets whose experts, and whatever else is trained on them, appear in no relevance table:
their training queries are graded pairs' queries too, also of the tests."""


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


def homedepot_parts(data: Path) -> Parts:
    """The graded pairs that relevance is learned and tested on, in their fixed parts."""
    graded = data / "graded"
    return read_parts(graded / "homedepot-splits.json", read_graded(graded / "homedepot.tsv"))


def crowdflower_pairs(data: Path) -> list[GradedPair]:
    """The graded pairs of another shop; nothing is trained or tuned on them."""
    return list(read_graded(data / "graded" / "crowdflower.tsv"))


def check(data: Path) -> None:
    """Raise InputError where the directory is not laid out as the test bed is."""
    _refuse(data, [name for name in ("beir", "squad", "agents") if not (data / name).is_dir()])


def check_files(data: Path, files: Iterable[Path]) -> None:
    """Raise InputError for the first of its files that is not there."""
    _refuse(data, [file.name for file in files if not file.is_file()][:1])


def _refuse(data: Path, missing: Sequence[str]) -> None:
    if missing:
        raise InputError(
            f"{data}: not the test bed (no {', '.join(missing)} in it); docs/data.md says how to make it"
        )


def _questions(parts: Iterable[Sequence[ReadingExample]]) -> list[str]:
    return [example.question for examples in parts for example in examples]
