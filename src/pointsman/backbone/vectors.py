"""Vectors of whole collections, computed once: encoding the documents is most of training an expert."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.types import FloatArray


def kept_vectors(
    cache: ArrayCache,
    backbone: Backbone,
    label: str,
    texts: Sequence[str],
    *,
    adapter: str | None = None,
    adapter_digest: str = "",
    prompt: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """What `backbone.encode` gives for the texts [n, d], from the cache where it is there.

    Known by the base's hash, its format, the prompt and every text; an adapter goes by the digest
    of its weights, since its name says nothing. `progress` gets the texts encoded and their number.
    """
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    identity = backbone.identity
    depends = (
        identity.sha256,
        identity.pooling,
        identity.max_length,
        dict(identity.prompts),
        str(backbone.dtype),
        prompt,
        adapter_digest,
        digest.hexdigest(),
    )
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, len(texts))

    found = cache.get(
        label, depends, lambda: backbone.encode(texts, adapter, prompt=prompt, progress=count)
    )
    return np.asarray(found, dtype=np.float32)
