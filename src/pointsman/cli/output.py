"""What a command writes: for people on a console, for programs as JSON, progress on standard error."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

# What takes longer than the first wants a word; where nobody watches, a word now and then.
_FIRST, _EVERY = 2.0, 10.0


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # Called where the error is being handled; how a run ends is decided in one place.


class Output:
    """Where a command writes to.

    With `as_json` nothing but JSON goes to standard output. Text is taken literally, never as
    rich's markup.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = _Console(highlight=False, markup=False, emoji=False)
        self.aside = _Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def marks(self) -> bool:
        """Whether a stretch of text has to be marked by signs, because colour is not shown."""
        return self.console.no_color or self.console.color_system is None

    def show(self, *things: RenderableType) -> None:
        """For people: nothing with `as_json`. A line of text stays one, so that it can be copied."""
        if not self.as_json:
            for thing in things:
                self.console.print(thing, soft_wrap=isinstance(thing, str))

    def item(self, text: Text, prefix: str = "") -> None:
        """A text with a hanging indent as wide as the prefix: nothing with `as_json`."""
        if not self.as_json:
            # Not rich's padding, which fills every line with spaces to its end.
            for line in text.wrap(self.console, max(20, self.console.width - len(prefix))):
                line.rstrip()
                self.console.print(Text(prefix) + line)
                prefix = " " * len(prefix)

    def note(self, text: str) -> None:
        """A line beside the result, on standard error: nothing with `as_json`."""
        if not self.as_json:
            self.aside.print(text, style="dim", soft_wrap=True)

    def document(self, value: Any) -> None:
        """The one JSON document of a command: nothing without `as_json`."""
        if self.as_json:
            self._write(value, indent=2)

    def line(self, value: Any) -> None:
        """One of several JSON documents, on one line: nothing without `as_json`."""
        if self.as_json:
            self._write(value, indent=None)

    def working(self, text: str, every: float = _EVERY) -> Working:
        """A block of work that may take long; see `Working`."""
        shown = self.aside.is_terminal or not self.as_json
        return Working(self.aside if shown else None, text, every)

    def _write(self, value: Any, indent: int | None) -> None:
        print(json.dumps(value, ensure_ascii=False, indent=indent, default=str))
        # A reader at the other end of a pipe waits for it.
        sys.stdout.flush()


class Working:
    """Says on standard error what is going on while its block runs.

    On a terminal one moving line, gone at the end. Else lines for a log: the first after two
    seconds, then one every so often. Without a console, nothing.
    """

    def __init__(self, console: Console | None, text: str, every: float = _EVERY) -> None:
        self._console = console
        self._status: Status | None = None
        self._every = every
        self._text = text
        self._next = time.monotonic() + _FIRST
        if console is not None and console.is_terminal:
            self._status = console.status(text, spinner_style="dim")

    def say(self, text: str, *, now: bool = False) -> None:
        """What is being done; `now` puts it into a log whenever the last line was."""
        if self._status is not None:
            self._status.update(text)
        elif self._console is not None and (now or time.monotonic() >= self._next):
            self._console.print(text, soft_wrap=True)
            self._next = time.monotonic() + self._every

    def __enter__(self) -> Working:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()


def counted(n: int, thing: str) -> str:
    """1 passage, 2,067 passages."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as people read them: 182 ms, 1.9 s, 12 min, 3 h 20 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
