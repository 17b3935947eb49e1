"""What is known of a question before anyone is asked: the frozen base's vectors of it and of its context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.deadline import Deadline
from pointsman.types import FloatArray


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
) -> FloatArray:
    """Vectors [n, 3d] of each question, of its context, and of what they have in common.

    Raises DeadlineError.
    """
    asked = backbone.encode(questions, prompt="query", deadline=deadline)
    distinct = list(dict.fromkeys(contexts))
    place = {text: i for i, text in enumerate(distinct)}
    read = backbone.encode(distinct, deadline=deadline)[[place[text] for text in contexts]]
    together = asked * read * asked.shape[1] ** 0.5
    return np.concatenate([asked, read, together], axis=1).astype(np.float32)


def encoding_gflops(
    backbone: Backbone, questions: Sequence[str], contexts: Sequence[str]
) -> list[float]:
    """What it takes to encode each question and its context, in GFLOPs."""
    both = zip(backbone.token_ids(questions, "query"), backbone.token_ids(contexts), strict=True)
    return [
        sum(backbone.shape.forward_gflops(1, len(each)) for each in (asked, read))
        for asked, read in both
    ]
