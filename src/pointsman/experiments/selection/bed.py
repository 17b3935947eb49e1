"""What the selection tables are made from: questions with the passages that a search finds for them.

On questions that it was trained on a reader is right anyway, and has nothing to say about passages;
and what its adapter says there of a pair misleads a selector that begins on it. So everything is learned
from the dev parts, which the reader has not seen, paragraph by paragraph: two fifths teach the selector
apart, two fifths the two together, one fifth chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pointsman.backbone.encoder import Backbone
from pointsman.data.draw import drawn
from pointsman.data.sources import open_source, passages
from pointsman.data.splits import refuse_overlap, without
from pointsman.data.squad import read_squad
from pointsman.data.testbed import check_files
from pointsman.evaluate.groups import numbered
from pointsman.experiments.report import Show
from pointsman.joint.asked import Asked, with_relevance
from pointsman.joint.source import Searched
from pointsman.read.marginal import Shown
from pointsman.types import FloatArray, Mode, Passage, ReadingExample

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

    taught: int = 200
    together: int = 80
    dev: int = 60
    test: int | None = 300
    candidates: int = 20
    trained_candidates: int = 10


@dataclass(frozen=True, eq=False)
class Bed:
    """`read` teaches the reader and `taught` the selector, apart; `together` both at once, from other
    questions. `dev` chooses, `tests` report. Nothing is in `read` where the reader has learned already.
    """

    read: Sequence[Shown]
    taught: Sequence[Asked]
    together: Sequence[Asked]
    dev: Sequence[Asked]
    tests: Mapping[str, Sequence[Asked]]


def load(data: Path, backbone: Backbone, sizes: Sizes, show: Show, seed: int = 0) -> Bed:
    """Read the questions and search for them. Raises InputError where a training question is a test's."""
    taught: list[Asked] = []
    together: list[Asked] = []
    dev: list[Asked] = []
    tests: dict[str, Sequence[Asked]] = {}
    for name, (apart, both, chosen_by), test in _split(data):
        show(f"{name}: searching", 0, 1)
        with Searched.of(backbone, _collection(data, name), show) as searched:

            def search(
                examples: Examples,
                most: int | None,
                candidates: int,
                searched: Searched = searched,
            ) -> list[Asked]:
                return searched.asked(some_of(examples, most, seed), candidates)

            taught += search(apart, sizes.taught, sizes.trained_candidates)
            together += search(both, sizes.together, sizes.trained_candidates)
            dev += search(chosen_by, sizes.dev, sizes.trained_candidates)
            if name in TESTS:
                tests[name] = search(test, sizes.test, sizes.candidates)
    return Bed((), taught, together, dev, tests)


def retrievals(
    data: Path, backbone: Backbone, questions: int, most: int, show: Show, seed: int = 0
) -> dict[Mode, list[Asked]]:
    """The same test questions on articles with `most` candidates, found in every way to search."""
    name = TESTS[0]
    test = _parts(data, name)[2]
    some = some_of(test, questions, seed)
    modes: tuple[Mode, ...] = ("hybrid", "dense", "bm25")
    with Searched.of(backbone, _collection(data, name), show) as searched:
        return {mode: searched.asked(some, most, mode=mode) for mode in modes}


def of_every_set(
    data: Path, train: int, test: int, seed: int = 0
) -> Iterator[tuple[str, list[Passage], list[ReadingExample], list[ReadingExample]]]:
    """Each set's name and collection, questions that teach the two together, and test questions."""
    for name, (_, both, _), tested in _split(data):
        yield name, _collection(data, name), some_of(both, train, seed), some_of(tested, test, seed)


def some_of(examples: Examples, most: int | None, seed: int) -> list[ReadingExample]:
    """So many of them, drawn."""
    return [examples[i] for i in drawn(len(examples), most, seed)]


def fifths(examples: Examples) -> tuple[list[ReadingExample], ...]:
    """Two, two and one of every five paragraphs with all their questions."""
    sides: tuple[list[ReadingExample], ...] = ([], [], [])
    for each, number in zip(examples, numbered(e.context for e in examples), strict=True):
        sides[number % 5 // 2].append(each)
    return sides


def graded(bed: Bed, say: Callable[[str, Sequence[Asked]], Sequence[FloatArray]]) -> Bed:
    """The same with the relevance [n] of candidates; `say` is given a sample's name too."""

    def all_of(name: str, asked: Sequence[Asked]) -> list[Asked]:
        return with_relevance(asked, say(name, asked))

    return replace(
        bed,
        taught=all_of("taught", bed.taught),
        together=all_of("together", bed.together),
        dev=all_of("dev", bed.dev),
        tests={name: all_of(name, asked) for name, asked in bed.tests.items()},
    )


def _split(
    data: Path,
) -> Iterator[tuple[str, tuple[list[ReadingExample], ...], list[ReadingExample]]]:
    """Each set's name, the fifths of its dev part without any test's questions, and its test part."""
    parts = {name: _parts(data, name) for name in SETS}
    asked_of_tests = [example.question for _, _, test in parts.values() for example in test]
    for name, (train, watched, test) in parts.items():
        refuse_overlap([each.question for each in train], asked_of_tests, f"{name}, train")
        unseen = without(watched, asked_of_tests, lambda example: example.question)
        yield name, fifths(unseen), test


def _parts(data: Path, name: str) -> list[list[ReadingExample]]:
    files = [data / "squad" / f"{name}-{part}.json" for part in ("train", "dev", "test")]
    check_files(data, files)
    return [[example for example in read_squad(file) if example.answers] for file in files]


def _collection(data: Path, name: str) -> list[Passage]:
    found: list[Passage] = []
    for number, file in enumerate(SETS[name]):
        for passage in passages(open_source(data / "squad" / f"{file}.json")):
            found.append(Passage(f"{number}-{passage.id}", passage.text, passage.title))
    return found
