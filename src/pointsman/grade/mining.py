"""Graded pairs from a collection that was judged for retrieval: negatives of several degrees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pointsman.collection.judged import Documents, Judged
from pointsman.grade.recipe import Labelled
from pointsman.types import FloatArray, Passage

GRADES = ("irrelevant", "related", "relevant")

# Related is what a search by vectors finds next to the answer; what it does not find at all, or far
# down, is irrelevant.
_NEAR, _FAR = 10, 100
_EASY = 2


def mined_pairs(
    judged: Sequence[Judged],
    queries: FloatArray,
    passages: Sequence[Passage],
    documents: Documents,
    *,
    related: int = 2,
    seed: int = 0,
) -> Labelled:
    """A judged document of each query, unjudged ones near it, and ones far from it.

    `queries` [n, d] and `documents` are vectors of one encoder; `passages` are the documents' texts
    in their order. For every query: one of its judged documents ("relevant"), `related` of the ten
    nearest others, one that is among the nearest hundred but not the first fifty, and one at random
    (both "irrelevant"). An unjudged near document may be relevant after all: "related" says no more
    than that nobody called it so.
    """
    rng = np.random.default_rng(seed)
    nearest = documents.nearest(queries, _FAR)
    pairs: list[tuple[str, str]] = []
    labels: list[int] = []
    for query, found in zip(judged, nearest.tolist(), strict=True):
        own = sorted(documents.rows[id] for id in query.relevant)
        others = [row for row in found if row not in own]
        chosen = [(int(rng.choice(own)), 2)]
        near, far = others[:_NEAR], others[_FAR // 2 :]
        chosen += [(int(row), 1) for row in rng.permutation(near)[:related]]
        chosen += [(int(row), 0) for row in rng.permutation(far)[: _EASY - 1]]
        known = {*own, *found}
        at_random = int(rng.integers(len(documents)))
        if at_random not in known:
            chosen.append((at_random, 0))
        for row, label in chosen:
            pairs.append((query.text, passages[row].content))
            labels.append(label)
    targets = torch.nn.functional.one_hot(torch.tensor(labels), len(GRADES)).float()
    return Labelled(pairs, targets, np.array(labels, dtype=np.int64))


def found_pairs(
    judged: Sequence[Judged],
    queries: FloatArray,
    passages: Sequence[Passage],
    documents: Documents,
    *,
    depth: int = 10,
    seed: int = 0,
) -> Labelled:
    """What a search by vectors finds first, as a grader will meet it: to calibrate by.

    Of every query the `depth` nearest documents, "relevant" where judged so and else "related", and
    one at random, "irrelevant". A judged document that is not found is not there.
    """
    rng = np.random.default_rng(seed)
    nearest = documents.nearest(queries, depth)
    pairs: list[tuple[str, str]] = []
    labels: list[int] = []
    for query, found in zip(judged, nearest.tolist(), strict=True):
        known = {*found, *(documents.rows[id] for id in query.relevant)}
        for row in found:
            pairs.append((query.text, passages[row].content))
            labels.append(2 if documents.ids[row] in query.relevant else 1)
        at_random = int(rng.integers(len(documents)))
        if at_random not in known:
            pairs.append((query.text, passages[at_random].content))
            labels.append(0)
    targets = torch.nn.functional.one_hot(torch.tensor(labels), len(GRADES)).float()
    return Labelled(pairs, targets, np.array(labels, dtype=np.int64))
