"""The collections of the routing tables: documents as base vectors, judged queries by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.collection.beir import apart, read_collection
from pointsman.collection.judged import Documents, Judged
from pointsman.data.arrays import ArrayCache
from pointsman.data.draw import drawn
from pointsman.experiments.report import Show
from pointsman.types import Passage


@dataclass(frozen=True, eq=False)
class RoutingSet:
    """One collection: its documents as vectors and as `passages`, queries by part ("train", …).

    `dropped` counts the queries of train and dev that stood in a later part too.
    """

    name: str
    documents: Documents
    parts: Mapping[str, Sequence[Judged]]
    passages: Sequence[Passage] = ()
    dropped: int = 0


def load_set(
    folder: Path, backbone: Backbone, cache: ArrayCache, show: Show, limit: int | None = None
) -> RoutingSet:
    """Read a BEIR directory and encode its documents, or take their vectors from the cache.

    `limit` bounds the queries of each part. A query of train or dev that stands in a later part too
    is left out: the split holds by text. Raises what `read_collection` does.
    """
    collection = read_collection(folder)
    name = collection.name
    documents = collection.documents(backbone, cache, partial(show, f"{name}: encoding"))
    parts = apart(name, collection.parts, drop=True)
    dropped = sum(len(collection.parts[part]) - len(kept) for part, kept in parts.items())
    some = {part: [kept[i] for i in drawn(len(kept), limit)] for part, kept in parts.items()}
    return RoutingSet(name, documents, some, collection.passages, dropped)


def pooled(sets: Sequence[RoutingSet]) -> list[RoutingSet]:
    """The same sets over one collection that holds the documents of all: the harder setting."""
    together = Documents(
        tuple(f"{each.name}/{id}" for each in sets for id in each.documents.ids),
        np.concatenate([each.documents.vectors for each in sets]),
    )

    def moved(name: str, query: Judged) -> Judged:
        return Judged(
            query.id, query.text, {f"{name}/{id}": grade for id, grade in query.relevant.items()}
        )

    return [
        RoutingSet(
            each.name,
            together,
            {
                part: [moved(each.name, query) for query in judged]
                for part, judged in each.parts.items()
            },
        )
        for each in sets
    ]
