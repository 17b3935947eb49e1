"""The collections of the routing tables: documents as base vectors, judged queries by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.vectors import kept_vectors
from pointsman.data.arrays import ArrayCache
from pointsman.data.beir import judged_queries as read_judged
from pointsman.data.beir import splits
from pointsman.data.sources import open_source, passages
from pointsman.data.splits import without
from pointsman.experiments.report import Show
from pointsman.route.collection import Documents, Judged


@dataclass(frozen=True, eq=False)
class RoutingSet:
    """One collection: its documents, and its queries by part ("train", "dev", "test").

    `dropped` counts the queries of train and dev that stood in a later part too.
    """

    name: str
    documents: Documents
    parts: Mapping[str, Sequence[Judged]]
    dropped: int = 0


def load_set(
    folder: Path, backbone: Backbone, cache: ArrayCache, show: Show, limit: int | None = None
) -> RoutingSet:
    """Read a BEIR directory and encode its documents, or take their vectors from the cache.

    `limit` bounds the queries of each part. A judgement of a document without text, which cannot be
    found by anything, is left out, and so is a query of train or dev that stands in a later part too:
    the split holds by text.
    """
    name = folder.name
    kept = [passage for passage in passages(open_source(folder)) if passage.content.strip()]
    vectors = kept_vectors(
        cache,
        backbone,
        f"documents-{name}",
        [passage.content for passage in kept],
        prompt="document",
        progress=partial(show, f"{name}: encoding"),
    )
    documents = Documents(tuple(passage.id for passage in kept), vectors)
    parts = {part: _judged(folder, part, documents) for part in splits(folder)}
    held_out: list[str] = []
    dropped = 0
    for part in [part for part in ("test", "dev", "train") if part in parts]:
        apart = without(parts[part], held_out, lambda query: query.text)
        dropped += len(parts[part]) - len(apart)
        held_out += [query.text for query in parts[part]]
        parts[part] = _some(apart, limit)
    return RoutingSet(name, documents, parts, dropped)


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


def _judged(folder: Path, part: str, documents: Documents) -> list[Judged]:
    queries, qrels = read_judged(folder, part)
    judged = []
    for query in queries:
        relevant = {
            id: grade for id, grade in qrels[query.id].items() if grade > 0 and id in documents.rows
        }
        if relevant:
            judged.append(Judged(query.id, query.text, relevant))
    return judged


def _some(judged: list[Judged], limit: int | None) -> list[Judged]:
    if limit is None or limit >= len(judged):
        return judged
    chosen = np.random.default_rng(0).permutation(len(judged))[:limit]
    return [judged[i] for i in sorted(chosen.tolist())]
