"""Where questions with candidates come from: what a search finds for them, or what they bring along."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.draw import drawn
from pointsman.data.multihop import MultihopQuestion, read_multihop
from pointsman.data.sources import open_source
from pointsman.data.sources import passages as all_passages
from pointsman.data.squad import read_squad
from pointsman.errors import InputError
from pointsman.joint.asked import Asked, ungraded
from pointsman.retrieve.ingest import ingest
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import Passage, ReadingExample

CANDIDATES = 20

# So many questions are searched for together.
_TOGETHER = 256

Said = Callable[[str, int, int], None]


def read_asked(
    backbone: Backbone,
    files: Sequence[Path],
    collection: Sequence[Path] = (),
    candidates: int = CANDIDATES,
    *,
    limit: int | None = None,
    seed: int = 0,
    show: Said | None = None,
) -> list[Asked]:
    """The questions of files: SQuAD's JSON, or JSON Lines of questions with paragraphs of their own.

    SQuAD questions are searched in the `collection`, by default in the paragraphs of these files
    themselves; the others have the first `candidates` of their own. `limit` draws so many of all.
    Raises InputError for files of both kinds at once or without a question; FormatError.
    """
    kinds = {path.suffix == ".jsonl" for path in files}
    if len(kinds) != 1:
        raise InputError("give SQuAD files (.json) or questions with paragraphs (.jsonl), not both")
    if kinds == {True}:
        questions = [question for path in files for question in read_multihop(path)]
        _check(questions, files)
        some = [questions[i] for i in drawn(len(questions), limit, seed)]
        return [each.first(candidates) for each in given(backbone, some)]
    examples = [example for path in files for example in read_squad(path) if example.answers]
    _check(examples, files)
    # Two SQuAD files number their paragraphs alike.
    passages = [
        replace(passage, id=f"{number}-{passage.id}")
        for number, path in enumerate(collection or files)
        for passage in all_passages(open_source(path))
    ]
    some_examples = [examples[i] for i in drawn(len(examples), limit, seed)]
    return retrieved(backbone, some_examples, passages, candidates, show)


def _check(questions: Sequence[object], files: Sequence[Path]) -> None:
    if not questions:
        raise InputError(f"{', '.join(map(str, files))}: no question with an answer in it")


def retrieved(
    backbone: Backbone,
    examples: Sequence[ReadingExample],
    collection: Sequence[Passage],
    candidates: int = CANDIDATES,
    show: Said | None = None,
) -> list[Asked]:
    """Questions with the best passages of a collection by hybrid search, no expert among them.

    A question's own paragraph supports its answer, where it was found. A text that stands in the
    collection twice counts once. Raises InputError where a question's paragraph is not in the collection.
    """
    distinct: dict[str, Passage] = {}
    for passage in collection:
        distinct.setdefault(passage.text, passage)
    missing = [example.id for example in examples if example.context not in distinct]
    if missing:
        raise InputError(f"the collection does not hold the paragraph of question {missing[0]!r}")
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-") as directory,
        LanceIndex.create(directory, backbone.identity) as index,
    ):
        total = len(distinct)
        ingest(
            index,
            backbone,
            distinct.values(),
            progress=None if show is None else lambda done: show("paragraphs", done, total),
        )
        found = []
        for start in range(0, len(examples), _TOGETHER):
            some = examples[start : start + _TOGETHER]
            questions = [example.question for example in some]
            vectors = backbone.encode(questions, prompt="query")
            hits = index.search(vectors, candidates, text=questions)
            found += [
                _asked(example, [hit.passage for hit in row])
                for example, row in zip(some, hits, strict=True)
            ]
    return found


def given(backbone: Backbone, questions: Sequence[MultihopQuestion]) -> list[Asked]:
    """Questions with their own paragraphs, the likest to the question first, by cosine."""
    vectors = backbone.encode([each.question for each in questions], prompt="query")
    passages = [passage for each in questions for passage in each.passages]
    documents = backbone.encode([passage.content for passage in passages], prompt="document")
    found, start = [], 0
    for question, vector in zip(questions, vectors, strict=True):
        mine = question.passages
        cosines = documents[start : start + len(mine)] @ vector
        start += len(mine)
        order = np.argsort(-cosines, kind="stable").tolist()
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
