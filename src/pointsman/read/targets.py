"""From annotators' character spans to distributions over a window's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def token_span(offsets: npt.NDArray[np.int64], start: int, end: int) -> tuple[int, int] | None:
    """First and last token of the characters [start, end), or None where the window misses a part.

    `offsets` [length, 2] are each token's characters, (-1, -1) outside the passage.
    """
    inside = np.flatnonzero(offsets[:, 0] >= 0)
    if inside.size == 0 or start < offsets[inside[0], 0] or end > offsets[inside[-1], 1]:
        return None
    first = inside[np.searchsorted(offsets[inside, 1], start, side="right")]
    last_place = np.searchsorted(offsets[inside, 0], end, side="left") - 1
    last = inside[max(0, int(last_place))]
    return (int(first), int(last)) if first <= last else None


def window_targets(
    offsets: npt.NDArray[np.int64], answers: Sequence[tuple[int, int]]
) -> tuple[dict[int, float], dict[int, float]]:
    """Start and end distributions over tokens, shared equally among the annotators' answers.

    `answers` are character spans [start, end). Without one inside the window all mass is on token 0.
    """
    found = [span for start, end in answers if (span := token_span(offsets, start, end))]
    if not found:
        return {0: 1.0}, {0: 1.0}
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for first, last in found:
        starts[first] = starts.get(first, 0.0) + 1 / len(found)
        ends[last] = ends.get(last, 0.0) + 1 / len(found)
    return starts, ends
