"""What BM25 finds in a routing set, kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.collection.judged import Documents
from pointsman.data.arrays import ArrayCache
from pointsman.hybrid import DEPTH, Keywords, keywords
from pointsman.types import BackboneIdentity, Passage


def kept_keywords(
    name: str,
    passages: Sequence[Passage],
    documents: Documents,
    texts: Sequence[str],
    identity: BackboneIdentity,
    cache: ArrayCache,
) -> Keywords:
    """`keywords`, from the cache where it is there."""

    def search() -> np.ndarray:
        found = keywords(passages, documents, texts, identity)
        return np.stack([found.rows.astype(np.float64), found.scores])

    known = (documents.digest(), list(texts), DEPTH)
    rows, scores = cache.get(f"keywords-{name}", known, search)
    return Keywords(rows.astype(np.int64), scores)
