"""What the selection tables are made from: questions with the passages that a search finds for them.

Reader and selector first learn apart, each on its own from half of the articles, and then together from
the other half: on questions that it was trained on a reader is right anyway, and has nothing to say about
passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.backbone.encoder import Backbone
from pointsman.data.draw import drawn
from pointsman.data.sources import open_source, passages
from pointsman.data.splits import refuse_overlap, without
from pointsman.data.squad import read_squad
from pointsman.errors import InputError
from pointsman.evaluate.groups import numbered
from pointsman.experiments.report import Show
from pointsman.joint.asked import Asked
from pointsman.joint.source import retrieved
from pointsman.types import Passage, ReadingExample

Examples = Sequence[ReadingExample]

SETS: dict[str, tuple[str, ...]] = {
    "squad-articles": ("squad-dev-v1.1",),
    "squadshifts-newwiki": tuple(f"squadshifts-newwiki-{p}" for p in ("train", "dev", "test")),
    "squadshifts-amazon": tuple(f"squadshifts-amazon-{p}" for p in ("train", "dev", "test")),
}
"""A set, and the files whose paragraphs are searched for its questions."""
TESTS = ("squad-articles", "squadshifts-newwiki")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Questions of each set in each part, None for all, and candidates while training and in tests."""

    read: int | None = 2_500
    taught: int = 500
    together: int = 250
    dev: int = 150
    test: int | None = None
    candidates: int = 20
    trained_candidates: int = 10


@dataclass(frozen=True, eq=False)
class Bed:
    """`read` teaches the reader and `taught` the selector, apart; `together` both at once, from other
    articles. `dev` chooses, `tests` report.
    """

    read: Examples
    read_dev: Examples
    taught: Sequence[Asked]
    together: Sequence[Asked]
    dev: Sequence[Asked]
    tests: Mapping[str, Sequence[Asked]]


def load(data: Path, backbone: Backbone, sizes: Sizes, show: Show, seed: int = 0) -> Bed:
    """Read the questions and search for them. Raises InputError where a training question is a test's."""
    read: list[ReadingExample] = []
    read_dev: list[ReadingExample] = []
    taught: list[Asked] = []
    together: list[Asked] = []
    dev: list[Asked] = []
    tests: dict[str, Sequence[Asked]] = {}
    parts = {name: _parts(data, name) for name in SETS}
    asked_of_tests = [example.question for _, _, test in parts.values() for example in test]
    for name, (train, watched, test) in parts.items():
        refuse_overlap([each.question for each in train], asked_of_tests, f"{name}, train")
        watched = without(watched, asked_of_tests, lambda example: example.question)
        first, second = halves(train)
        collection = _collection(data, name)

        def search(
            examples: Examples,
            most: int | None,
            candidates: int,
            collection: list[Passage] = collection,
        ) -> list[Asked]:
            some = [examples[i] for i in drawn(len(examples), most, seed)]
            return retrieved(backbone, some, collection, candidates, show)

        show(f"{name}: searching", 0, 1)
        read += [first[i] for i in drawn(len(first), sizes.read, seed)]
        read_dev += [watched[i] for i in drawn(len(watched), sizes.dev, seed)]
        taught += search(first, sizes.taught, sizes.trained_candidates)
        together += search(second, sizes.together, sizes.trained_candidates)
        dev += search(watched, sizes.dev, sizes.candidates)
        if name in TESTS:
            tests[name] = search(test, sizes.test, sizes.candidates)
    return Bed(read, read_dev, taught, together, dev, tests)


def halves(examples: Examples) -> tuple[list[ReadingExample], list[ReadingExample]]:
    """Every second article (product, …) to each side, so that no paragraph is on both."""
    sides: tuple[list[ReadingExample], list[ReadingExample]] = ([], [])
    for each, number in zip(examples, numbered(e.cluster for e in examples), strict=True):
        sides[number % 2].append(each)
    return sides


def _parts(data: Path, name: str) -> list[list[ReadingExample]]:
    files = [data / "squad" / f"{name}-{part}.json" for part in ("train", "dev", "test")]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{data}: not the test bed (no {missing[0].name} in it); docs/data.md says how to make it"
        )
    return [[example for example in read_squad(file) if example.answers] for file in files]


def _collection(data: Path, name: str) -> list[Passage]:
    found: list[Passage] = []
    for number, file in enumerate(SETS[name]):
        for passage in passages(open_source(data / "squad" / f"{file}.json")):
            found.append(Passage(f"{number}-{passage.id}", passage.text, passage.title))
    return found
