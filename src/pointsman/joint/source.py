"""Where questions with candidates come from: what a search finds for them, or what they bring along."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.multihop import MultihopQuestion
from pointsman.errors import InputError
from pointsman.joint.asked import Asked, ungraded
from pointsman.retrieve.ingest import ingest
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import Passage, ReadingExample

CANDIDATES = 20

# So many questions are searched for together.
_TOGETHER = 256

Said = Callable[[str, int, int], None]


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
