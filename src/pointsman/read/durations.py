"""How long an agent takes for a question: what nine in ten of the last ones took at most."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

_REMEMBERED = 200
_QUANTILE = 0.9


class Durations:
    """The last two hundred, of any thread."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """One more question was answered."""
        with self._lock:
            self._seconds.append(seconds)

    @property
    def usual(self) -> float:
        """Seconds; 0 before anything was answered."""
        with self._lock:
            seen = list(self._seconds)
        return float(np.quantile(seen, _QUANTILE)) if seen else 0.0
