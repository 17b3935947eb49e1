"""A BEIR directory with its documents as vectors: documents with text, and judged queries by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.vectors import kept_vectors
from pointsman.collection.judged import Documents, Judged, judged_queries
from pointsman.data.arrays import ArrayCache
from pointsman.data.beir import is_beir, read_corpus, read_qrels, read_queries, splits
from pointsman.data.chunks import whole
from pointsman.data.splits import overlap, without
from pointsman.errors import EmptyCollectionError, InputError
from pointsman.types import Passage, Query


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Documents uncut, each with text, and the judged queries of each part ("train", "dev", "test")."""

    name: str
    passages: Sequence[Passage]
    parts: Mapping[str, Sequence[Judged]]

    def documents(
        self,
        backbone: Backbone,
        cache: ArrayCache,
        progress: Callable[[int, int], None] | None = None,
    ) -> Documents:
        """The documents as base vectors, from the cache where they are there.

        `progress` gets the documents encoded and their number.
        """
        vectors = kept_vectors(
            cache,
            backbone,
            f"documents-{self.name}",
            [passage.content for passage in self.passages],
            prompt="document",
            progress=progress,
        )
        return Documents(tuple(passage.id for passage in self.passages), vectors)


def read_collection(folder: Path) -> Collection:
    """Read a BEIR directory.

    A document without any text cannot be found by anything: it is left out with its judgements, and
    so is a query that is then judged with nothing. Raises InputError and FormatError: no corpus, no
    document with text, judgements of a document or query that is not there.
    """
    if not is_beir(folder):
        raise InputError(f"{folder}: not a BEIR directory (no corpus.jsonl in it)")
    passages = [whole(document) for document in read_corpus(folder)]
    kept = [passage for passage in passages if passage.content.strip()]
    if not kept:
        raise EmptyCollectionError(f"{folder}: no document with text in its corpus")
    blank = frozenset(each.id for each in passages if not each.content.strip())
    # Without vectors yet: what is wrong with the judgements is told before the long part.
    documents = Documents(tuple(each.id for each in kept), np.empty((len(kept), 0), "f4"))
    queries = list(read_queries(folder)) if (folder / "qrels").is_dir() else []
    parts = {part: _judged(folder, part, queries, documents, blank) for part in splits(folder)}
    return Collection(folder.resolve().name, kept, parts)


def _judged(
    folder: Path, part: str, queries: Sequence[Query], documents: Documents, blank: frozenset[str]
) -> list[Judged]:
    qrels = {
        query: {id: grade for id, grade in judged.items() if id not in blank}
        for query, judged in read_qrels(folder, part).items()
    }
    try:
        return judged_queries(queries, qrels, documents)
    except InputError as error:
        raise InputError(f"{folder / 'qrels' / part}.tsv: {error}") from None


def apart(
    name: object, parts: Mapping[str, Sequence[Judged]], drop: bool
) -> dict[str, list[Judged]]:
    """The parts without what stands in a later one as well (train, dev, test), by the queries' texts.

    Where `drop` is not set such a query raises InputError, which says whose parts these are: `name`.
    """
    kept: dict[str, list[Judged]] = {}
    later: list[str] = []
    for part in ("test", "dev", "train"):
        if part not in parts:
            continue
        mine = list(parts[part])
        for other in later:
            texts = [query.text for query in parts[other]]
            both = overlap([query.text for query in mine], texts)
            if both and not drop:
                raise InputError(
                    f"{name}: {len(both)} {part} queries stand in its {other} part too, such as "
                    f"{min(both)!r}; take them out, or let --drop-overlap leave them out"
                )
            mine = without(mine, texts, lambda query: query.text)
        kept[part] = mine
        later.append(part)
    return kept
