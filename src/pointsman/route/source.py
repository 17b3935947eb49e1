"""A BEIR directory as what a query expert is trained on: documents as vectors, train and dev queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.backbone.encoder import Backbone
from pointsman.collection.beir import apart, read_collection
from pointsman.data.arrays import ArrayCache
from pointsman.data.draw import drawn
from pointsman.data.splits import hold_out
from pointsman.errors import InputError
from pointsman.route.made import made_queries
from pointsman.route.recipe import Data, check_queries
from pointsman.types import Passage

# Of the training queries so many are dev where there is no dev part: of those that people asked, and
# of those made from documents, of which there are more. Fewer than 20 say nothing.
_HELD_OUT, _HELD_OUT_MADE, _AT_LEAST = 0.15, 0.1, 20


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A directory's documents, as vectors and as `passages`, its queries, and what a card has to say.

    `dev_held_out`: dev was taken from the training queries. `made`: the queries are titles and first
    sentences. `left_out` counts queries that stood in another part too and were therefore dropped.
    """

    name: str
    data: Data
    passages: Sequence[Passage]
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
    collection = read_collection(folder)
    parts = collection.parts
    if from_documents:
        parts = {"train": made_queries(collection.passages), "test": parts.get("test", [])}
    elif "train" not in parts:
        raise InputError(
            f"{folder}: no training queries (qrels/train.tsv); "
            "with --from-documents queries are made of titles and first sentences"
        )
    kept = apart(folder, parts, drop_overlap or from_documents)
    left_out = sum(len(parts[part]) - len(kept[part]) for part in kept)
    train, dev = kept["train"], kept.get("dev", [])
    held_out = not dev
    if held_out:
        share = _HELD_OUT_MADE if from_documents else _HELD_OUT
        train, dev = hold_out(train, lambda query: query.text, share, seed, _AT_LEAST)
    train = [train[i] for i in drawn(len(train), limit, seed)]
    if len(train) < batch:
        after = f", after {len(dev)} are held out for dev," if held_out else ""
        raise InputError(
            f"{folder}: {len(train)} training queries{after} are fewer than a batch of {batch}; "
            "an expert needs more of them"
        )
    check_queries(train, dev, batch)
    data = Data(collection.documents(backbone, cache, progress), train, dev)
    return Source(collection.name, data, collection.passages, held_out, from_documents, left_out)
