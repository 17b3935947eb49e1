"""What the relevance tables are made from: graded pairs by part, some topics held out of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.vq import kmeans2
from torch.nn.functional import one_hot

from pointsman.data.draw import drawn
from pointsman.data.graded import GradedPair, Grading, HeldBack, Pair
from pointsman.data.splits import refuse_overlap
from pointsman.data.testbed import (
    CROWDFLOWER,
    HOMEDEPOT,
    HOMEDEPOT_LEVELS,
    crowdflower_pairs,
    homedepot_parts,
)
from pointsman.grade.loss import soft_targets
from pointsman.grade.recipe import Labelled
from pointsman.types import FloatArray

LEVELS = (1.5, 2.33, 3.0)
"""Where Home Depot's three grades stand on its raters' scale, for targets shared between two grades."""

# Topics of the training queries, and the share of queries whose topics are held out.
_TOPICS, _HELD_OUT = 25, 0.12

P = TypeVar("P", bound=Pair)
Encode = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True, eq=False)
class Sample:
    """Graded pairs of one part: `texts` [n], `queries` [n], `labels` [n], raw `scores` [n], and how far
    the raters of each pair lie apart at least, as a standard deviation, `spreads` [n].
    """

    name: str
    texts: tuple[tuple[str, str], ...]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    spreads: npt.NDArray[np.float64]

    @classmethod
    def of(cls, name: str, pairs: Sequence[GradedPair], grading: Grading) -> Sample:
        """Raises InputError where fewer than two grades occur."""
        return cls._of(name, pairs, grading.grades(pairs, name))

    @classmethod
    def some(cls, name: str, pairs: Sequence[GradedPair], grading: Grading) -> Sample:
        """The same of a few pairs, all of one grade perhaps, which join others."""
        return cls._of(name, pairs, np.array([grading.grade(pair.score) for pair in pairs]))

    @classmethod
    def _of(cls, name: str, pairs: Sequence[GradedPair], labels: npt.NDArray[np.int64]) -> Sample:
        texts = tuple((pair.query, pair.content) for pair in pairs)
        scores = np.array([pair.score for pair in pairs])
        spreads = [least_spread(p.score) if p.variance is None else p.variance for p in pairs]
        return cls(name, texts, labels, scores, np.array(spreads))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def queries(self) -> list[str]:
        """Every pair's query: what must not be split, and what is resampled."""
        return [query for query, _ in self.texts]

    def joined(self, other: Sample) -> Sample:
        """Both, one after the other."""
        return Sample(
            self.name,
            self.texts + other.texts,
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.spreads, other.spreads]),
        )

    def fine(self) -> Labelled:
        """The same in all grades of the raters' scale, as what a grader is trained on."""
        labels = np.array([HOMEDEPOT_LEVELS.grade(score) for score in self.scores.tolist()])
        targets = one_hot(torch.from_numpy(labels), len(HOMEDEPOT_LEVELS.names)).float()
        return Labelled(self.texts, targets, labels)

    def labelled(self, grades: int, soft: bool = False) -> Labelled:
        """As what a grader is trained on; `soft` shares a pair between the grades that its raters'
        mean lies between.
        """
        if soft:
            targets = soft_targets(torch.from_numpy(self.scores), LEVELS)
        else:
            targets = one_hot(torch.from_numpy(self.labels), grades).float()
        return Labelled(self.texts, targets, self.labels)


def least_spread(mean: float) -> float:
    """The least standard deviation that whole ratings of this mean can have: next to each other."""
    share = mean - np.floor(mean)
    return float(np.sqrt(share * (1 - share)))


@dataclass(frozen=True, eq=False)
class Bed:
    """Home Depot in its fixed parts, `shifted` being topics held out of train, and another shop."""

    grading: Grading
    train: Sample
    shifted: Sample
    pool: HeldBack
    id_dev: Sample
    id_test: Sample
    ood_test: Sample
    shop: Sample

    @property
    def pool_texts(self) -> list[tuple[str, str]]:
        """The pool's pairs, whose scores are not looked at."""
        return [(pair.query, pair.content) for pair in self.pool.pairs]

    def picked(self, places: npt.NDArray[np.int64]) -> Sample:
        """Pairs of the pool with their labels, which are paid for."""
        return Sample.some("picked", self.pool.look_up(places), self.grading)

    def samples(self) -> tuple[Sample, ...]:
        """What rows are scored on."""
        return (self.shifted, self.id_dev, self.id_test, self.ood_test, self.shop)


def load(data: Path, encode: Encode, limit: int | None = None, seed: int = 0) -> Bed:
    """Read the pairs; `encode` gives queries' vectors, by which topics are made.

    `limit` bounds the queries of each part. Raises InputError where a query of train or of the pool
    stands in a test part too.
    """
    parts = homedepot_parts(data)
    tests = [pair.query for part in (parts.id_test, parts.ood_test) for pair in part]
    for name, pairs in (("train", parts.train), ("the pool", parts.pool.pairs)):
        refuse_overlap([pair.query for pair in pairs], tests, name)
    train = _some(parts.train, limit)
    # The pool's scores have to stay where they are: it is cut by its places.
    pool = parts.pool
    if limit is not None:
        kept = frozenset(pair.query for pair in _some(pool.pairs, limit))
        places = [i for i, pair in enumerate(pool.pairs) if pair.query in kept]
        pool = HeldBack(pool.look_up(np.array(places)))
    queries = list(dict.fromkeys(pair.query for pair in train))
    apart = held_out_topics(queries, encode(queries), seed)

    def sample(name: str, pairs: Iterable[GradedPair], grading: Grading = HOMEDEPOT) -> Sample:
        return Sample.of(name, _some(list(pairs), limit), grading)

    return Bed(
        HOMEDEPOT,
        sample("train", [pair for pair in train if pair.query not in apart]),
        sample("held-out topics", [pair for pair in train if pair.query in apart]),
        pool,
        sample("id_dev", parts.id_dev),
        sample("id_test", parts.id_test),
        sample("ood_test", parts.ood_test),
        sample("another shop", crowdflower_pairs(data), CROWDFLOWER),
    )


def held_out_topics(queries: Sequence[str], vectors: FloatArray, seed: int) -> frozenset[str]:
    """The queries of whole clusters of the query vectors [n, d], drawn until they are enough."""
    count = min(_TOPICS, max(2, len(queries) // 4))
    _, topic = kmeans2(vectors.astype(np.float64), count, minit="++", seed=seed)
    apart: set[str] = set()
    for each in np.random.default_rng(seed).permutation(count).tolist():
        if len(apart) >= _HELD_OUT * len(queries):
            break
        apart.update(queries[i] for i in np.flatnonzero(topic == each).tolist())
    return frozenset(apart)


def _some(pairs: Sequence[P], limit: int | None) -> list[P]:
    """The pairs of so many queries."""
    queries = list(dict.fromkeys(pair.query for pair in pairs))
    kept = frozenset(queries[i] for i in drawn(len(queries), limit))
    return [pair for pair in pairs if pair.query in kept]
