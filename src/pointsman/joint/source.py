"""Where questions with candidates come from: what a search finds for them, or what they bring along."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.data.draw import drawn
from pointsman.data.multihop import MultihopQuestion, read_multihop
from pointsman.data.sources import open_source
from pointsman.data.sources import passages as all_passages
from pointsman.data.squad import read_squad
from pointsman.errors import InputError
from pointsman.grade.relevance import best_first, expected_relevance
from pointsman.joint.asked import Asked, ungraded
from pointsman.protocols import Grader
from pointsman.retrieve.ingest import ingest
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import Mode, Passage, ReadingExample

CANDIDATES = 20

# So many questions are searched for together.
_TOGETHER = 256

Said = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Judge:
    """A grader, and how much its relevance counts beside the score of retrieval; see `best_first`."""

    grader: Grader
    weight: float


def read_asked(
    backbone: Backbone,
    files: Sequence[Path],
    collection: Sequence[Path] = (),
    candidates: int = CANDIDATES,
    *,
    limit: int | None = None,
    seed: int = 0,
    judge: Judge | None = None,
    show: Said | None = None,
) -> list[Asked]:
    """The questions of files: SQuAD's JSON, or JSON Lines of questions with paragraphs of their own.

    SQuAD questions are searched in the `collection`, by default in the paragraphs of these files
    themselves; the others have the first `candidates` of their own. `limit` draws so many of all, and
    `judge` grades and orders the candidates.
    Raises InputError for files of both kinds at once or without a question; FormatError.
    """
    kinds = {path.suffix == ".jsonl" for path in files}
    if len(kinds) != 1:
        raise InputError("give SQuAD files (.json) or questions with paragraphs (.jsonl), not both")
    if kinds == {True}:
        questions = [question for path in files for question in read_multihop(path)]
        _check(questions, files)
        some = [questions[i] for i in drawn(len(questions), limit, seed)]
        return [each.first(candidates) for each in given(backbone, some, judge)]
    examples = [example for path in files for example in read_squad(path) if example.answers]
    _check(examples, files)
    # Two SQuAD files number their paragraphs alike.
    passages = [
        replace(passage, id=f"{number}-{passage.id}")
        for number, path in enumerate(collection or files)
        for passage in all_passages(open_source(path))
    ]
    some_examples = [examples[i] for i in drawn(len(examples), limit, seed)]
    with Searched.of(backbone, passages, show) as searched:
        return searched.asked(some_examples, candidates, judge)


def _check(questions: Sequence[object], files: Sequence[Path]) -> None:
    if not questions:
        raise InputError(f"{', '.join(map(str, files))}: no question with an answer in it")


class Searched:
    """A collection that questions are searched in, no expert among them. A text that stands in it twice
    counts once.
    """

    def __init__(self, backbone: Backbone, texts: frozenset[str], index: LanceIndex) -> None:
        self._backbone = backbone
        self._texts = texts
        self._index = index

    @classmethod
    @contextmanager
    def of(
        cls, backbone: Backbone, collection: Sequence[Passage], show: Said | None = None
    ) -> Iterator[Searched]:
        """For as long as the block lasts."""
        distinct: dict[str, Passage] = {}
        for passage in collection:
            distinct.setdefault(passage.text, passage)
        total = len(distinct)
        with (
            tempfile.TemporaryDirectory(prefix="pointsman-") as directory,
            LanceIndex.create(directory, backbone.identity) as index,
        ):
            ingest(
                index,
                backbone,
                distinct.values(),
                progress=None if show is None else lambda done: show("paragraphs", done, total),
            )
            yield cls(backbone, frozenset(distinct), index)

    def asked(
        self,
        examples: Sequence[ReadingExample],
        candidates: int = CANDIDATES,
        judge: Judge | None = None,
        mode: Mode = "hybrid",
    ) -> list[Asked]:
        """Questions with the best passages for them; their own paragraph supports the answer, where it was
        found. Raises InputError where the collection does not hold it.
        """
        missing = [example.id for example in examples if example.context not in self._texts]
        if missing:
            raise InputError(
                f"the collection does not hold the paragraph of question {missing[0]!r}"
            )
        found = []
        for start in range(0, len(examples), _TOGETHER):
            some = examples[start : start + _TOGETHER]
            questions = [example.question for example in some]
            vectors = None if mode == "bm25" else self._backbone.encode(questions, prompt="query")
            hits = self._index.search(
                vectors, candidates, text=None if mode == "dense" else questions
            )
            found += _judged(
                [
                    _asked(example, [hit.passage for hit in row])
                    for example, row in zip(some, hits, strict=True)
                ],
                [np.array([hit.score for hit in row]) for row in hits],
                judge,
            )
        return found


def given(
    backbone: Backbone, questions: Sequence[MultihopQuestion], judge: Judge | None = None
) -> list[Asked]:
    """Questions with their own paragraphs, the likest to the question first, by cosine."""
    vectors = backbone.encode([each.question for each in questions], prompt="query")
    passages = [passage for each in questions for passage in each.passages]
    documents = backbone.encode([passage.content for passage in passages], prompt="document")
    found, scores, start = [], [], 0
    for question, vector in zip(questions, vectors, strict=True):
        mine = question.passages
        cosines = documents[start : start + len(mine)] @ vector
        start += len(mine)
        order = np.argsort(-cosines, kind="stable").tolist()
        scores.append(cosines[order])
        supporting = [
            place for place, i in enumerate(order) if question.paragraphs[i].is_supporting
        ]
        ranked = tuple(mine[i] for i in order)
        found.append(
            Asked(
                question.id,
                question.question,
                question.answers,
                ranked,
                ungraded(ranked),
                tuple(supporting),
                question.id,
            )
        )
    return _judged(found, scores, judge)


def _judged(
    asked: Sequence[Asked], scores: Sequence[npt.NDArray[np.floating]], judge: Judge | None
) -> list[Asked]:
    """Candidates with their relevance, in the order in which a pipeline would show them."""
    if judge is None:
        return list(asked)
    graded = judge.grader.grade(
        [each.question for each in asked], [each.passages for each in asked]
    )
    found = []
    for each, said, score in zip(asked, graded, scores, strict=True):
        relevance = expected_relevance(said.probabilities)
        order = best_first(relevance, score, judge.weight).tolist()
        support = set(each.supporting)
        found.append(
            replace(
                each,
                passages=tuple(each.passages[i] for i in order),
                relevance=relevance[order],
                supporting=tuple(place for place, i in enumerate(order) if i in support),
            )
        )
    return found


def _asked(example: ReadingExample, passages: Sequence[Passage]) -> Asked:
    supporting = [i for i, passage in enumerate(passages) if passage.text == example.context]
    return Asked(
        example.id,
        example.question,
        tuple(dict.fromkeys(example.answers)),
        tuple(passages),
        ungraded(passages),
        tuple(supporting),
        example.cluster,
    )
