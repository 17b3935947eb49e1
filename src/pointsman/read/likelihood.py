"""How well a span reader explains an answer that is known (protocol `Likelihood`).

In retrieved passages nobody has marked the answer: every span counts that reads like one of the
answers, whatever its case and spaces. A passage-wise reader's likelihood of any selection of passages
follows from two numbers of each passage, its `Shares`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pointsman.deadline import Deadline
from pointsman.read.reader import WindowReader
from pointsman.read.targets import token_span
from pointsman.types import Passage


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Of one question's passages, log Σ exp of their spans' log-odds against silence: of the spans
    that are an answer, `answer` [n], -inf where there is none, and of all spans, `all` [n].
    """

    answer: npt.NDArray[np.float64]
    all: npt.NDArray[np.float64]

    def log_likelihood(self) -> float:
        """log of the reader's probability of the answer in all these passages; -inf where it has none."""
        return float(
            np.logaddexp.reduce(self.answer, initial=-np.inf)
            - np.logaddexp.reduce(self.all, initial=0.0)
        )


Find = Callable[[str, Sequence[str]], list[tuple[int, int]]]
"""A text and answers -> the characters [start, end) of whatever is one of them, each once."""


class SpanLikelihood:
    """The likelihood of answers under a span reader; `find` says what of a text is an answer."""

    def __init__(self, reader: WindowReader, find: Find | None = None) -> None:
        self.reader = reader
        self._find = find or mentions

    def log_likelihood(
        self, question: str, passages: Sequence[Passage], answers: Sequence[str]
    ) -> float:
        """log p(answers | question, passages): of all spans that are one of them together."""
        return self.shares([question], [passages], [answers])[0].log_likelihood()

    def shares(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        answers: Sequence[Sequence[str]],
        deadline: Deadline | None = None,
    ) -> list[Shares]:
        """One for each question; all questions' passages share batches."""
        pairs: list[tuple[str, str]] = []
        marked: list[list[tuple[int, int]]] = []
        for question, given, known in zip(questions, passages, answers, strict=True):
            pairs += [(question, passage.text) for passage in given]
            marked += [self._find(passage.text, known) for passage in given]
        odds = marked_odds(self.reader, pairs, [[mine] for mine in marked], deadline)
        answer, every = np.array([mine[0] for mine in odds.of_each]), odds.every
        ends = np.cumsum([len(given) for given in passages]).tolist()
        return [
            Shares(answer[end - len(given) : end], every[end - len(given) : end])
            for given, end in zip(passages, ends, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class MarkedOdds:
    """Of (question, text) pairs log Σ exp of the log-odds of all spans, `every` [pairs], and for each pair
    `of_each` of those that each candidate marks [candidates]; -inf of none. Reading took `gflops` [pairs].
    """

    every: npt.NDArray[np.float64]
    of_each: list[npt.NDArray[np.float64]]
    gflops: npt.NDArray[np.float64]


def marked_odds(
    reader: WindowReader,
    pairs: Sequence[tuple[str, str]],
    marked: Sequence[Sequence[Sequence[tuple[int, int]]]],
    deadline: Deadline | None = None,
) -> MarkedOdds:
    """Of (question, text) pairs; `marked` are the characters [start, end) of each candidate's spans."""
    every, gflops = np.full(len(pairs), -np.inf), np.zeros(len(pairs))
    of_each = [np.full(len(mine), -np.inf) for mine in marked]
    for windows, odds in reader.span_odds(pairs, deadline):
        totals = torch.logsumexp(odds.double().flatten(1), dim=1).cpu().tolist()
        cost = reader.shape.forward_gflops(1, odds.shape[1])
        for row, window in enumerate(windows):
            gflops[window.pair] += cost
            every[window.pair] = np.logaddexp(every[window.pair], totals[row])
            found = of_each[window.pair]
            for number, places in enumerate(marked[window.pair]):
                spans = {token_span(window.offsets, *place) for place in places}
                for first, last in filter(None, spans):
                    if last - first < odds.shape[2]:
                        here = float(odds[row, first, last - first])
                        found[number] = np.logaddexp(found[number], here)
    return MarkedOdds(every, of_each, gflops)


def mentions(text: str, answers: Sequence[str]) -> list[tuple[int, int]]:
    """The characters [start, end) of whatever in a text reads like one of the answers, each once.

    Case does not matter, nor what kind of space stands between words; an answer is no part of a word.
    """
    found: dict[tuple[int, int], None] = {}
    for answer in answers:
        words = [re.escape(word) for word in answer.split()]
        if words:
            spaced = r"\s+".join(words)
            pattern = rf"(?<!\w){spaced}(?!\w)"
            found |= dict.fromkeys(m.span() for m in re.finditer(pattern, text, re.IGNORECASE))
    return list(found)
