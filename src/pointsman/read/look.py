"""A first look: what a reader sees in each candidate by itself, before anybody has chosen among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pointsman.deadline import Deadline
from pointsman.read.reader import WindowReader
from pointsman.types import Look, Passage

# Overlapping windows repeat spans: with so many of each window the second best is among them.
_KEPT = 4


def look(
    reader: WindowReader,
    questions: Sequence[str],
    passages: Sequence[Sequence[Passage]],
    deadline: Deadline | None = None,
) -> list[Look]:
    """One for each question; all questions' passages share batches. Raises DeadlineError."""
    pairs = [
        (question, passage.text)
        for question, given in zip(questions, passages, strict=True)
        for passage in given
    ]
    spans: list[dict[tuple[int, int], float]] = [{} for _ in pairs]
    every, gflops = np.full(len(pairs), -np.inf), np.zeros(len(pairs))
    for windows, odds in reader.span_odds(pairs, deadline):
        length, width = odds.shape[1:]
        totals = torch.logsumexp(odds.double().flatten(1), dim=1).tolist()
        values, places = odds.flatten(1).topk(min(_KEPT, length * width), dim=1)
        cost = reader.shape.forward_gflops(1, length)
        rows = zip(windows, totals, values.tolist(), places.tolist(), strict=True)
        for window, total, mine, where in rows:
            every[window.pair] = np.logaddexp(every[window.pair], total)
            gflops[window.pair] += cost
            for value, place in zip(mine, where, strict=True):
                if value > -np.inf:
                    first, last = place // width, place // width + place % width
                    span = int(window.offsets[first, 0]), int(window.offsets[last, 1])
                    found = spans[window.pair]
                    found[span] = max(value, found.get(span, -np.inf))
    best, second = np.full((2, len(pairs)), -np.inf)
    texts = []
    for number, found in enumerate(spans):
        ranked = sorted(found.items(), key=lambda each: -each[1])
        for values_of, (_, value) in zip((best, second), ranked, strict=False):
            values_of[number] = value
        start, end = ranked[0][0] if ranked else (0, 0)
        texts.append(pairs[number][1][start:end])
    ends = np.cumsum([len(given) for given in passages]).tolist()
    return [
        Look(
            best[end - len(given) : end],
            second[end - len(given) : end],
            every[end - len(given) : end],
            tuple(texts[end - len(given) : end]),
            float(gflops[end - len(given) : end].sum()),
        )
        for given, end in zip(passages, ends, strict=True)
    ]
