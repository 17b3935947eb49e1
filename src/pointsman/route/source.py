"""A BEIR directory as what a query expert is trained on: documents as vectors, train and dev queries."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.vectors import kept_vectors
from pointsman.data.arrays import ArrayCache
from pointsman.data.beir import is_beir, read_corpus, read_qrels, read_queries, splits
from pointsman.data.chunks import whole
from pointsman.data.splits import normalise, overlap, without
from pointsman.errors import EmptyCollectionError, InputError
from pointsman.route.collection import Documents, Judged, judged_queries
from pointsman.route.made import made_queries
from pointsman.route.recipe import Data
from pointsman.types import Passage, Query

# Of the training queries so many are dev where there is no dev part: of those that people asked, and
# of those made from documents, of which there are more. Fewer than 20 say nothing.
_HELD_OUT, _HELD_OUT_MADE, _AT_LEAST = 0.15, 0.1, 20


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A directory's documents and queries, and what a card has to say of them.

    `dev_held_out`: dev was taken from the training queries. `made`: the queries are titles and first
    sentences. `left_out` counts queries that stood in another part too and were therefore dropped.
    """

    name: str
    data: Data
    dev_held_out: bool
    made: bool
    left_out: int

    def record(self, licence: str = "") -> dict[str, Any]:
        """What a specialist's training record holds of it, as `expert_card` reads it."""
        return {
            "name": self.name,
            "train": len(self.data.train),
            "dev": len(self.data.dev),
            "documents": len(self.data.documents),
            "licence": licence,
            "dev_held_out": self.dev_held_out,
            "made": self.made,
            "left_out": self.left_out,
        }


def read_data(
    folder: Path,
    backbone: Backbone,
    cache: ArrayCache,
    *,
    from_documents: bool = False,
    drop_overlap: bool = False,
    limit: int | None = None,
    batch: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """Read a BEIR directory; its documents' vectors come from the cache where they are there.

    Queries are those judged in the train and dev parts, or with `from_documents` made of titles and
    first sentences. Without a dev part 15 % of the training queries are held out (10 % of made ones;
    20 at least). A query must not stand in a later part as well (train, dev, test): it is refused,
    or with `drop_overlap` left out of the earlier one. `limit` bounds the training queries, drawn
    with `seed`. `progress` gets the documents encoded and their number.

    Raises InputError and FormatError before anything is encoded: no corpus, no training queries,
    fewer than `batch`, judgements of what is not there, parts that overlap.
    """
    if not is_beir(folder):
        raise InputError(f"{folder}: not a BEIR directory (no corpus.jsonl in it)")
    passages, blank = _documents(folder)
    # Without vectors yet: what is wrong with the judgements is told before the long part.
    documents = Documents(tuple(each.id for each in passages), np.empty((len(passages), 0), "f4"))
    queries = list(read_queries(folder)) if (folder / "qrels").is_dir() else []
    judged = {part: _judged(folder, part, queries, documents, blank) for part in splits(folder)}
    if from_documents:
        parts = {"train": made_queries(passages), "test": judged.get("test", [])}
    elif "train" not in judged:
        raise InputError(
            f"{folder}: no training queries (qrels/train.tsv); "
            "with --from-documents queries are made of titles and first sentences"
        )
    else:
        parts = judged
    apart = _apart(folder, parts, drop_overlap or from_documents)
    left_out = sum(len(parts[part]) - len(apart[part]) for part in apart)
    train, dev = apart["train"], apart.get("dev", [])
    held_out = not dev
    if held_out:
        train, dev = _hold_out(train, _HELD_OUT_MADE if from_documents else _HELD_OUT, seed)
    if limit is not None and limit < len(train):
        train = random.Random(seed).sample(train, limit)
    if len(train) < batch:
        after = f", after {len(dev)} are held out for dev," if held_out else ""
        raise InputError(
            f"{folder}: {len(train)} training queries{after} are fewer than a batch of {batch}; "
            "an expert needs more of them"
        )
    data = Data(documents, train, dev)
    data.check(batch)
    vectors = kept_vectors(
        cache,
        backbone,
        f"documents-{folder.resolve().name}",
        [passage.content for passage in passages],
        prompt="document",
        progress=progress,
    )
    data = replace(data, documents=Documents(documents.ids, vectors))
    return Source(folder.resolve().name, data, held_out, from_documents, left_out)


def _documents(folder: Path) -> tuple[list[Passage], frozenset[str]]:
    """Documents uncut, and the ids of those without any text, which nothing could find."""
    passages = [whole(document) for document in read_corpus(folder)]
    kept = [passage for passage in passages if passage.content.strip()]
    if not kept:
        raise EmptyCollectionError(f"{folder}: no document with text in its corpus")
    return kept, frozenset(each.id for each in passages if not each.content.strip())


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


def _apart(
    folder: Path, parts: Mapping[str, Sequence[Judged]], drop: bool
) -> dict[str, list[Judged]]:
    """Train and dev without what stands in a later part, or InputError where that is not wanted."""
    kept: dict[str, list[Judged]] = {}
    later: list[str] = []
    for part in ("test", "dev", "train"):
        if part not in parts:
            continue
        mine = list(parts[part])
        for other in later:
            texts = _texts(parts[other])
            both = overlap(_texts(mine), texts)
            if both and not drop:
                raise InputError(
                    f"{folder}: {len(both)} {part} queries stand in its {other} part too, such as "
                    f"{min(both)!r}; take them out, or let --drop-overlap leave them out"
                )
            mine = without(mine, texts, lambda query: query.text)
        kept[part] = mine
        later.append(part)
    kept.pop("test", None)
    return kept


def _hold_out(
    judged: Sequence[Judged], share: float, seed: int
) -> tuple[list[Judged], list[Judged]]:
    """Train and dev. Queries that read alike stay together, or a dev query would stand in train."""
    texts = list(dict.fromkeys(normalise(query.text) for query in judged))
    count = min(max(_AT_LEAST, round(share * len(texts))), len(texts) // 2)
    chosen = frozenset(random.Random(seed).sample(texts, count))
    train = [query for query in judged if normalise(query.text) not in chosen]
    return train, [query for query in judged if normalise(query.text) in chosen]


def _texts(judged: Iterable[Judged]) -> list[str]:
    return [query.text for query in judged]
