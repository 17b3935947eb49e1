"""A point in time after which a call should give up, and a way to call it off from another thread."""

from __future__ import annotations

import threading
import time

from pointsman.errors import DeadlineError


class Deadline:
    """Handed down through every call that can wait; each checks it between two units of work.

    `seconds=None` never runs out but can still be cancelled.
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a deadline lies in the future: seconds must be > 0, not {seconds}")
        self._end = None if seconds is None else time.monotonic() + seconds
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Make the next check raise, from whichever thread."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the call was called off, in time or not."""
        return self._cancelled.is_set()

    def remaining(self) -> float | None:
        """Seconds left (never below 0), or None without a limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Wait so long, but not beyond the deadline, and no longer where the call is cancelled meanwhile."""
        left = self.remaining()
        self._cancelled.wait(seconds if left is None else min(seconds, left))

    def check(self, doing: str) -> None:
        """Raise DeadlineError when time is up or the call was cancelled; `doing` names the work."""
        if self._cancelled.is_set():
            raise DeadlineError(f"cancelled while {doing}")
        if self._end is not None and time.monotonic() >= self._end:
            raise DeadlineError(f"the deadline passed while {doing}; allow more time or ask less")
