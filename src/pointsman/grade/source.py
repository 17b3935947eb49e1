"""Files of graded pairs as what a grader is trained on: a train and a dev part without a query in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pointsman.data.draw import drawn
from pointsman.data.graded import GradedPair, Grading, Pair, read_graded, read_pairs
from pointsman.data.labels import read_labels
from pointsman.data.splits import hold_out, normalise, overlap, refuse_overlap
from pointsman.errors import InputError
from pointsman.grade.loss import soft_targets
from pointsman.grade.pairwise import PairTexts
from pointsman.grade.recipe import Labelled, joined

LEAST_DEV = 5
"""Calibration is chosen by folds of whole queries, five of them."""

_HELD_OUT = 0.15
_WHY = f"{LEAST_DEV} at least are needed to stop and to calibrate by"


@dataclass(frozen=True, eq=False)
class Added:
    """Pairs of a pool that were labelled in a sheet; of `automatic` labels no person gave any."""

    sheet: str
    part: Labelled
    automatic: int


@dataclass(frozen=True, eq=False)
class Source:
    """Graded pairs in two parts, and what a card has to say of them.

    `levels` are the grades' mean raw scores where targets are shared between grades, else empty.
    `dev_held_out`: dev was taken from the training queries. `added` are in `train` already.
    `meanings` say what each grade stands for where no person gave a score.
    """

    name: str
    grading: Grading
    train: Labelled
    dev: Labelled
    levels: tuple[float, ...]
    dev_held_out: bool
    added: Added | None = None
    meanings: tuple[str, ...] = ()

    def record(self, licence: str = "") -> dict[str, Any]:
        """What a specialist's training record holds of it, as `grader_card` reads it."""
        record = {
            "name": self.name,
            "grades": list(self.grading.names),
            "cuts": list(self.grading.cuts),
            "levels": list(self.levels),
            "train": _record(self.train, self.grading),
            "dev": _record(self.dev, self.grading),
            "licence": licence,
            "dev_held_out": self.dev_held_out,
            "meanings": list(self.meanings),
        }
        if self.added is not None:
            labelled = _record(self.added.part, self.grading)
            record["labelled"] = {
                "sheet": self.added.sheet,
                **labelled,
                "automatic": self.added.automatic,
            }
        return record

    def digest(self, *more: object) -> str:
        """Twelve hexadecimal digits that change with all pairs and targets, and with what `more` says."""
        digest = hashlib.sha256(repr(more).encode())
        for part in (self.train, self.dev):
            digest.update(repr(list(part.pairs)).encode())
            digest.update(part.targets.numpy().tobytes())
        return digest.hexdigest()[:12]


def read_added(
    sheet: str | Path, pool: str | Path, grading: Grading, *, allow_missing: bool = False
) -> Added:
    """Read a filled-in sheet (`data.labels.read_labels`) of some pairs of the file `pool`.

    Raises what `read_labels` and `read_pairs` raise, and InputError where no pair has a label.
    """
    pairs = list(read_pairs(pool))
    found = read_labels(sheet, pairs, grading.names, allow_missing=allow_missing, some=True)
    if not len(found.indices):
        raise InputError(f"{sheet}: no pair of it has a label; fill it in first")
    chosen = [pairs[place] for place in found.indices.tolist()]
    return Added(Path(sheet).name, _one_hot(chosen, found.labels, grading), found.automatic)


def read_pool(path: str | Path, source: Source) -> list[PairTexts]:
    """The pairs of a file of unlabelled ones that are not trained on already.

    Raises what `read_pairs` raises, and InputError where none is left or dev's queries are among them.
    """
    known = frozenset(source.train.pairs)
    pairs = [(pair.query, pair.content) for pair in read_pairs(path)]
    _refuse_in_dev(str(path), pairs, source.dev.pairs, source.dev_held_out)
    if not (left := [pair for pair in pairs if pair not in known]):
        raise InputError(f"{path}: every pair of it has a label; there is none to teach")
    return left


def read_source(
    path: Path,
    grading: Grading,
    dev: Path | None = None,
    *,
    soft: bool = False,
    limit: int | None = None,
    seed: int = 0,
    added: Added | None = None,
) -> Source:
    """Read graded pairs (`data.graded.read_graded`) as a train and a dev part.

    Without a `dev` file 15 % of the queries are held out, five at least, whole and by their normalised
    text. `limit` bounds the training queries, drawn with `seed`. `soft` shares a pair between the two
    grades whose mean raw scores in training its own lies between. The pairs `added`, which have one
    grade each and no raw score, are trained on as well, all of them.

    Raises what `read_graded` raises, and InputError: fewer than two grades in a part, fewer than five
    dev queries, queries in both files or in dev and among those added, `soft` with a grade that no
    training pair has.
    """
    train = list(read_graded(path))
    if dev is not None:
        held_out = list(read_graded(dev))
        refuse_overlap(_queries(train), _queries(held_out), str(path))
        queries = len(_texts(held_out))
        if queries < LEAST_DEV:
            raise InputError(f"{dev}: {queries} dev queries are too few, {_WHY}")
    else:
        train, held_out = _hold_out(path, train, seed)
    texts = _texts(train)
    kept = frozenset(texts[i] for i in drawn(len(texts), limit, seed))
    train = [pair for pair in train if normalise(pair.query) in kept]
    labelled = _labelled(train, grading, f"{path}: training pairs")
    levels = _levels(path, train, labelled, grading) if soft else ()
    if soft:
        scores = torch.tensor([pair.score for pair in train])
        labelled = Labelled(labelled.pairs, soft_targets(scores, levels), labelled.labels)
    watched = _labelled(held_out, grading, f"{dev or path}: dev pairs")
    if added is not None:
        _refuse_in_dev(added.sheet, added.part.pairs, watched.pairs, dev is None)
        labelled = joined([labelled, added.part])
    return Source(path.name, grading, labelled, watched, levels, dev is None, added)


def _refuse_in_dev(
    what: str, pairs: Sequence[PairTexts], dev: Sequence[PairTexts], held_out_of_train: bool
) -> None:
    if both := overlap((query for query, _ in pairs), (query for query, _ in dev)):
        raise InputError(
            f"{what}: {len(both)} of its queries stand in dev, such as {min(both)!r}; take them out"
            f"{' of it, or give --dev FILE' if held_out_of_train else ''}"
        )


def _labelled(pairs: Sequence[GradedPair], grading: Grading, what: str) -> Labelled:
    return _one_hot(pairs, grading.grades(pairs, what), grading)


def _one_hot(pairs: Sequence[Pair], labels: npt.NDArray[np.int64], grading: Grading) -> Labelled:
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels), len(grading.names)).float()
    return Labelled([(pair.query, pair.content) for pair in pairs], targets, labels)


def _levels(
    path: Path, pairs: Sequence[GradedPair], labelled: Labelled, grading: Grading
) -> tuple[float, ...]:
    """Each grade's mean raw score; they rise as the cuts do."""
    scores = np.array([pair.score for pair in pairs])
    for grade, name in enumerate(grading.names):
        if grade not in labelled.labels:
            raise InputError(
                f"{path}: no training pair has the grade {name!r}, so none can be shared with it; "
                "train without --soft, or with other cuts"
            )
    grades = range(len(grading.names))
    return tuple(float(scores[labelled.labels == grade].mean()) for grade in grades)


def _hold_out(
    path: Path, pairs: Sequence[GradedPair], seed: int
) -> tuple[list[GradedPair], list[GradedPair]]:
    """Train and dev. Raises InputError where dev would be too small."""
    train, held_out = hold_out(pairs, lambda pair: pair.query, _HELD_OUT, seed, LEAST_DEV)
    if (count := len(_texts(held_out))) < LEAST_DEV:
        raise InputError(
            f"{path}: of its {len(_texts(pairs))} queries no more than {count} can be held out as dev, "
            f"{_WHY}; add queries, or give --dev FILE"
        )
    return train, held_out


def _texts(pairs: Iterable[GradedPair]) -> list[str]:
    return list(dict.fromkeys(map(normalise, _queries(pairs))))


def _queries(pairs: Iterable[GradedPair]) -> list[str]:
    return [pair.query for pair in pairs]


def _record(part: Labelled, grading: Grading) -> dict[str, Any]:
    counts = np.bincount(part.labels, minlength=len(grading.names)).tolist()
    return {
        "pairs": len(part.pairs),
        "queries": len({normalise(query) for query, _ in part.pairs}),
        "grades": dict(zip(grading.names, counts, strict=True)),
    }
