"""Ctrl-C, held back where it would leave something half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """Within `held()`, Ctrl-C only sets `pending`; KeyboardInterrupt is raised when the hold ends.

    In a thread other than the main one this does nothing: Ctrl-C never arrives there.
    """

    def __init__(self) -> None:
        self.pending = False
        self._held = False
        self._previous: Callable[[int, FrameType | None], object] | None = None

    def __enter__(self) -> Self:
        previous = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(previous):
            self._previous = previous
            signal.signal(signal.SIGINT, self._arrived)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    @contextmanager
    def held(self, held: bool = True) -> Iterator[None]:
        """Hold Ctrl-C back in this block; with False, let it through in a block within."""
        before = self._held
        self._held = held
        try:
            self._deliver()
            yield
        finally:
            self._held = before
        self._deliver()

    def deliver(self) -> None:
        """Raise KeyboardInterrupt now where it was held back: between two parts of what is held."""
        with self.held(False):
            pass

    def _deliver(self) -> None:
        if self.pending and not self._held:
            self.pending = False
            raise KeyboardInterrupt

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self.pending = True
        elif self._previous is not None:
            self._previous(number, frame)
