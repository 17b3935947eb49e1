"""Exact match and F1 of extractive answers, as the official SQuAD scripts define them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.errors import EmptyCollectionError, InputError
from pointsman.types import ReadingExample

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True, slots=True, eq=False)
class ReadingScores:
    """Scores of one reader, in [0, 1]; `em` and `f1` are [examples].

    `clusters` names what each example must not be resampled apart from (its own id where it has
    none). `missing` counts the examples without a prediction, which score 0.
    """

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    em: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    missing: int = 0

    @property
    def mean_em(self) -> float:
        """Exact match over all examples."""
        return float(self.em.mean())

    @property
    def mean_f1(self) -> float:
        """F1 over all examples."""
        return float(self.f1.mean())


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 where the normalised prediction is one of the normalised answers, else 0.0.

    No answers means that the question has none: then only an empty prediction is right (SQuAD 2.0).
    """
    predicted = normalize_answer(prediction)
    return float(any(predicted == normalize_answer(answer) for answer in answers or ("",)))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over normalised tokens, the best over the answers.

    No answers means that the question has none: then only an empty prediction is right (SQuAD 2.0).
    An answer that normalises to nothing ("The") overlaps with nothing, as in the v1.1 script.
    """
    if not answers:
        return exact_match(prediction, answers)
    predicted = normalize_answer(prediction).split()
    return max(_token_f1(predicted, normalize_answer(answer).split()) for answer in answers)


def score_reading(
    predictions: Mapping[str, str], examples: Iterable[ReadingExample]
) -> ReadingScores:
    """Score predictions (example id -> answer text, "" for "no answer").

    Every example counts: one without a prediction scores 0, even if it has no answer. Predictions
    for other ids are ignored, so that a file over a whole set scores on a part of it.

    Raises EmptyCollectionError without examples, InputError for an id that occurs twice and for
    predictions of which not one belongs to an example.
    """
    examples = list(examples)
    if not examples:
        raise EmptyCollectionError("there are no questions to score")
    ids = tuple(example.id for example in examples)
    repeated = next((id for id, count in Counter(ids).items() if count > 1), None)
    if repeated is not None:
        raise InputError(
            f"question id {repeated!r} occurs more than once; predictions are matched by id, so "
            "give each question its own"
        )
    missing = sum(id not in predictions for id in ids)
    if predictions and missing == len(ids):
        raise InputError(
            f"no prediction belongs to a question: predictions have {next(iter(predictions))!r}, "
            f"questions {ids[0]!r}; are both of the same set?"
        )
    em, overlap = np.zeros(len(ids)), np.zeros(len(ids))
    for row, example in enumerate(examples):
        prediction = predictions.get(example.id)
        if prediction is not None:
            em[row] = exact_match(prediction, example.answers)
            overlap[row] = f1(prediction, example.answers)
    return ReadingScores(
        ids=ids,
        clusters=tuple(example.cluster or example.id for example in examples),
        em=em,
        f1=overlap,
        missing=missing,
    )


def _token_f1(predicted: list[str], answer: list[str]) -> float:
    common = sum((Counter(predicted) & Counter(answer)).values())
    return 2 * common / (len(predicted) + len(answer)) if common else 0.0
