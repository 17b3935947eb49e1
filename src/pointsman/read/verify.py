"""What a reader thinks of answers that others gave: how likely it finds each, in the passages that they saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.deadline import Deadline
from pointsman.read.joined import Joined, find
from pointsman.read.likelihood import Find, marked_odds, mentions
from pointsman.read.reader import SpanReader, WindowReader
from pointsman.types import Judged, Passage

LEAST = -12.0
"""The log-probability of an answer that stands nowhere in the passages, and the least of any other."""


def log_likelihoods(
    reader: WindowReader,
    questions: Sequence[str],
    passages: Sequence[Sequence[Passage]],
    texts: Sequence[Sequence[str | None]],
    mentioned: Find = mentions,
    deadline: Deadline | None = None,
) -> Judged:
    """log p [n, A] of each of the answers `texts` [n][A] to a question, given its passages.

    The reader's probability of all spans together that read like the answer, by what is `mentioned` in a
    text, among all spans and silence; every passage is read once, however many answers there are. 0 where
    there is no answer, LEAST for one that stands nowhere. Raises DeadlineError.
    """
    agents = len(texts[0]) if texts else 0
    pairs = [
        (question, passage.text)
        for question, given in zip(questions, passages, strict=True)
        for passage in given
    ]
    owner = [q for q, given in enumerate(passages) for _ in given]
    # Agents that say the same are looked up once.
    said = [list(dict.fromkeys(text for text in row if text)) for row in texts]
    marked = [
        [mentioned(text, [answer]) for answer in said[q]]
        for q, (_, text) in zip(owner, pairs, strict=True)
    ]
    odds = marked_odds(reader, pairs, marked, deadline)
    each = [np.full(len(row), -np.inf) for row in said]
    total = np.zeros(len(said))  # log-odds of silence
    for q, mine, all_spans in zip(owner, odds.of_each, odds.every, strict=True):
        each[q], total[q] = np.logaddexp(each[q], mine), np.logaddexp(total[q], all_spans)
    found = np.zeros((len(said), agents), dtype=np.float32)
    for q, given_by in enumerate(texts):
        known = dict(zip(said[q], (each[q] - total[q]).clip(min=LEAST, max=0.0), strict=True))
        found[q] = [known[text] if text else 0.0 for text in given_by]
    took = np.bincount(owner, weights=odds.gflops, minlength=len(said)).astype(np.float32)
    return Judged(found, took)


def judge(
    reader: SpanReader,
    questions: Sequence[str],
    passages: Sequence[Sequence[Passage]],
    texts: Sequence[Sequence[str | None]],
    deadline: Deadline | None = None,
) -> Judged:
    """The same as the reader reads: passage by passage, or joined. Raises DeadlineError."""
    if not reader.settings.joined:
        return log_likelihoods(reader, questions, passages, texts, mentions, deadline)
    joined = [[Passage("", Joined.of(given).text)] if given else [] for given in passages]
    return log_likelihoods(reader, questions, joined, texts, find, deadline)
