"""Whether readers' answers begin and end where right ones do, in characters."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pointsman.experiments.deferral.bed import Floats
from pointsman.types import ReadingExample

Span = tuple[int, int]
"""The first character and the one after the last."""

_WORD = re.compile(r"\w+")
_ARTICLES = frozenset(["a", "an", "the"])


def both_ends_at(
    examples: Sequence[ReadingExample], spans: Sequence[Sequence[Span | None]]
) -> Floats:
    """Whether each answer [n][A] begins and ends [n, A, 2] at the character where a right one does.

    Characters of words: punctuation and articles about an answer move neither of its ends, as they do not
    make it wrong.
    """
    found = np.zeros((len(examples), len(spans[0]) if spans else 0, 2))
    for i, (each, row) in enumerate(zip(examples, spans, strict=True)):
        marked = zip(each.starts, each.answers, strict=True)
        right = [_words(each.context, (start, start + len(text))) for start, text in marked]
        for j, span in enumerate(row):
            mine = None if span is None else _words(each.context, span)
            if mine is not None:
                found[i, j] = [
                    any(other is not None and mine[end] == other[end] for other in right)
                    for end in range(2)
                ]
    return found


def _words(context: str, span: Span) -> Span | None:
    """Where the first word of a span that is no article begins and the last one ends; None without any."""
    start, end = span
    words = [m for m in _WORD.finditer(context[start:end]) if m.group().lower() not in _ARTICLES]
    return (start + words[0].start(), start + words[-1].end()) if words else None
