"""Collections judged for retrieval, in BEIR's layout, as what a grader is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.vectors import kept_vectors
from pointsman.collection.beir import Collection, apart, read_collection
from pointsman.collection.judged import Documents, Judged
from pointsman.data.arrays import ArrayCache
from pointsman.data.draw import drawn
from pointsman.data.graded import Grading
from pointsman.data.splits import hold_out, without
from pointsman.errors import InputError
from pointsman.grade.mining import GRADES, found_pairs, mined_pairs
from pointsman.grade.recipe import Labelled, joined
from pointsman.grade.source import Source
from pointsman.types import FloatArray

DEGREES = Grading(GRADES, (1.0, 2.0))
"""A mined pair's score is its degree: 0, 1 or 2."""
MEANINGS = (
    "far down in a search by vectors, or drawn at random",
    "one of the ten nearest, and judged by nobody",
    "judged relevant",
)

_HELD_OUT = 0.15
# So many dev queries of a collection are enough to stop and to calibrate by.
_DEV = 100


def read_judged(
    folders: Sequence[Path],
    backbone: Backbone,
    cache: ArrayCache,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Source:
    """Graded pairs from the train and dev queries of BEIR directories.

    Training pairs are mined (`mined_pairs`), dev pairs what a search finds (`found_pairs`): a grader
    has to tell apart what it learned from, and to be calibrated where it is used.

    Documents are encoded by the frozen base, or their vectors come from the cache. Without a dev part
    15 % of the training queries are held out. A query of any test part is left out of training and
    dev, whichever collection it is from. `limit` bounds the training queries of each collection.
    `progress` gets a collection's name, the documents encoded and their number.

    Raises what `read_collection` raises, and InputError for a directory without training queries.
    """
    collections = [read_collection(folder) for folder in folders]
    tests = [query.text for each in collections for query in each.parts.get("test", [])]
    train: list[Labelled] = []
    dev: list[Labelled] = []
    held_out = False
    for folder, each in zip(folders, collections, strict=True):
        if not each.parts.get("train"):
            raise InputError(f"{folder}: no training queries (qrels/train.tsv)")
        parts = apart(folder, each.parts, drop=True)
        asked = without(parts["train"], tests, _text)
        watched = without(parts.get("dev", []), tests, _text)
        if not watched:
            asked, watched = hold_out(asked, _text, _HELD_OUT, seed)
            held_out = True
        asked = [asked[i] for i in drawn(len(asked), limit, seed)]
        watched = [watched[i] for i in drawn(len(watched), _DEV, seed)]
        for part, judged, pairs, into in (
            ("train", asked, mined_pairs, train),
            ("dev", watched, found_pairs, dev),
        ):
            queries, documents = _vectors(each, part, judged, backbone, cache, progress)
            into.append(pairs(judged, queries, each.passages, documents, seed=seed))
    names = ", ".join(each.name for each in collections)
    return Source(names, DEGREES, joined(train), joined(dev), (), held_out, meanings=MEANINGS)


def _vectors(
    collection: Collection,
    part: str,
    judged: Sequence[Judged],
    backbone: Backbone,
    cache: ArrayCache,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[FloatArray, Documents]:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(collection.name, done, total)

    documents = collection.documents(backbone, cache, told)
    texts = [query.text for query in judged]
    label = f"queries-{collection.name}-{part}"
    return kept_vectors(cache, backbone, label, texts, prompt="query"), documents


def _text(query: Judged) -> str:
    return query.text
