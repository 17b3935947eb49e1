"""What is known of a question before anyone is asked: the frozen base's vectors of it and of its context.

A context's vector is the one that an index holds of it, and is not computed again where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.deadline import Deadline
from pointsman.types import FloatArray

Stored = Callable[[Sequence[str]], Mapping[str, FloatArray]]
"""Ids of passages -> the base's unit vectors [d] of those that an index holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """What is known before anyone is asked, in few numbers: (x - `mean` [d]) · `main` [d, f]."""

    mean: FloatArray
    main: FloatArray

    @classmethod
    def of(cls, vectors: FloatArray, width: int = 64) -> Directions:
        """The main directions of vectors [n, d], as many as a tenth of n can carry."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        _, found = np.linalg.eigh(centred.T @ centred)
        width = max(1, min(width, len(vectors) // 10))
        return cls(mean, np.ascontiguousarray(found[:, ::-1][:, :width], dtype=np.float32))

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Numbers [n, f] of vectors [n, d]."""
        return np.asarray((vectors - self.mean) @ self.main, dtype=np.float32)


def vectors(
    backbone: Backbone,
    questions: Sequence[str],
    contexts: Sequence[str],
    deadline: Deadline | None = None,
    stored: Mapping[str, FloatArray] | None = None,
) -> FloatArray:
    """Vectors [n, 3d] of each question, of its context, and of what they have in common.

    `stored` are contexts' vectors [d] that are there already. Raises DeadlineError.
    """
    asked = backbone.encode(questions, prompt="query", deadline=deadline)
    known = dict(stored or {})
    new = [text for text in dict.fromkeys(contexts) if text not in known]
    known |= zip(new, backbone.encode(new, deadline=deadline), strict=True)
    read = np.stack([known[text] for text in contexts]) if contexts else np.zeros_like(asked)
    together = asked * read * asked.shape[1] ** 0.5
    return np.concatenate([asked, read, together], axis=1).astype(np.float32)


def encoding_gflops(
    backbone: Backbone,
    questions: Sequence[str],
    contexts: Sequence[str],
    stored: Collection[str] = (),
) -> list[float]:
    """What it takes to encode each question, and its context unless its vector is `stored`, in GFLOPs."""

    def each(texts: Sequence[str], prompt: str | None = None) -> list[float]:
        ids = backbone.token_ids(texts, prompt)
        return [backbone.shape.forward_gflops(1, len(row)) for row in ids]

    new = list(dict.fromkeys(text for text in contexts if text not in stored))
    read = dict(zip(new, each(new), strict=True))
    asked = zip(each(questions, "query"), contexts, strict=True)
    return [question + read.get(text, 0.0) for question, text in asked]
