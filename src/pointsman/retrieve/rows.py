"""A passage as a row of the table and back, checked before the database sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pointsman.errors import InputError
from pointsman.retrieve.filters import tags
from pointsman.text import scrub
from pointsman.types import FloatArray, Passage

STORED = ("id", "document", "title", "text", "start", "end", "metadata")
"""The columns that a passage is read back from."""
_NORM_TOLERANCE = 1e-3


def schema(dimension: int, metadata: dict[bytes, bytes] | None = None) -> pa.Schema:
    """The table's columns; `content` is what BM25 matches, `fingerprint` tells what has changed."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("document", pa.string()),
            pa.field("title", pa.string()),
            pa.field("text", pa.string()),
            pa.field("content", pa.string()),
            pa.field("start", pa.int64()),
            pa.field("end", pa.int64()),
            pa.field("metadata", pa.string()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("fingerprint", pa.string()),
            pa.field("vector", pa.list_(pa.float32(), dimension)),
        ],
        metadata=metadata,
    )


def to_arrow(passages: Sequence[Passage], vectors: FloatArray, dimension: int) -> pa.Table:
    """Checked rows. Raises InputError, and names what is wrong, before anything is stored.

    `vectors` [n, d] float32 of unit norm, one for each passage; text is scrubbed (`text.scrub`).
    """
    vectors = check_vectors(vectors, dimension, what="passage")
    if len(vectors) != len(passages):
        raise InputError(f"{len(passages)} passages came with {len(vectors)} vectors")
    clean = [scrubbed(passage) for passage in passages]
    check_ids([passage.id for passage in clean])
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    far = np.flatnonzero(np.abs(norms - 1.0) > _NORM_TOLERANCE)
    if far.size:
        raise InputError(
            f"the vector of passage {clean[far[0]].id!r} has norm {norms[far[0]]:.4g}; "
            "vectors must have unit norm"
        )
    columns = {
        "id": [passage.id for passage in clean],
        "document": [passage.document for passage in clean],
        "title": [passage.title for passage in clean],
        "text": [passage.text for passage in clean],
        "content": [passage.content for passage in clean],
        "start": [passage.start for passage in clean],
        "end": [passage.end for passage in clean],
        "metadata": [json.dumps(dict(passage.metadata), ensure_ascii=False) for passage in clean],
        "tags": [tags(passage.metadata) for passage in clean],
        "fingerprint": [fingerprint(passage) for passage in clean],
    }
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)
    return pa.table({**columns, "vector": vector}, schema=schema(dimension))


def to_passage(row: dict[str, Any]) -> Passage:
    """The passage of a row with the columns STORED."""
    return Passage(**{**row, "metadata": json.loads(row["metadata"])})


def fingerprint(passage: Passage) -> str:
    """Changes exactly when anything that is stored of the passage does."""
    clean = scrubbed(passage)
    stored = [clean.document, clean.title, clean.text, clean.start, clean.end]
    text = json.dumps([*stored, dict(clean.metadata)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def scrubbed(passage: Passage) -> Passage:
    """The passage with text that can be stored. Raises InputError for metadata that cannot be."""
    try:
        tags(passage.metadata)
    except InputError as error:
        raise InputError(f"passage {passage.id!r}: {error}") from None
    return Passage(
        id=scrub(passage.id),
        text=scrub(passage.text),
        title=scrub(passage.title),
        document=scrub(passage.document),
        start=passage.start,
        end=passage.end,
        metadata={
            scrub(field): scrub(value) if isinstance(value, str) else value
            for field, value in passage.metadata.items()
        },
    )


def check_ids(ids: Sequence[str]) -> None:
    """Raise InputError for an empty id, or for ids that occur twice (the database stores both)."""
    if not all(ids):
        raise InputError(f"passage {ids.index('') + 1} of {len(ids)} has an empty id")
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for id_ in ids:
        if id_ in seen:
            twice[id_] = None
        seen.add(id_)
    if twice:
        raise InputError(f"more than once in one batch: {named(list(twice))}; ids must be unique")


def named(ids: Sequence[str]) -> str:
    """At most three ids, and how many more: "ids 'a', 'b', 'c' and 4 more"."""
    shown = ", ".join(repr(id_) for id_ in ids[:3])
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{'id' if len(ids) == 1 else 'ids'} {shown}{more}"


def check_vectors(vectors: FloatArray, dimension: int, what: str) -> FloatArray:
    """`vectors` as contiguous float32 [n, dimension]; InputError for other widths, NaN, infinity."""
    try:
        array = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(
            f"{what} vectors are not an array of numbers, or of unequal width"
        ) from None
    if array.ndim != 2:
        raise InputError(
            f"{what} vectors form an array of shape {array.shape}; give one row for each {what}"
        )
    if len(array) and array.shape[1] != dimension:
        raise InputError(
            f"{what} vectors have {array.shape[1]} dimensions, but the index has {dimension}"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise InputError(f"the vector of {what} {bad[0] + 1} of {len(array)} holds NaN or infinity")
    return array
