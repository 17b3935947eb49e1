"""What a run writes down as it goes: `log.jsonl`, and TensorBoard's files where that is installed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pointsman.errors import ReadOnlyError

LOG_FILE = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One step. `seconds` counts from the run's start, pauses left out; `measures` where evaluated.

    `batches_per_second` counts the batches of all processes; None where the step was taken before
    an interruption, and only its evaluation after it.
    """

    step: int
    seconds: float
    loss: float
    learning_rate: float
    batches_per_second: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> str:
        """One line of JSON; what is not a finite number is null."""
        line: dict[str, Any] = {
            "step": self.step,
            "seconds": _finite(round(self.seconds, 3)),
            "loss": _finite(self.loss),
            "learning_rate": _finite(self.learning_rate),
            "batches_per_second": _finite(self.batches_per_second),
        }
        if self.measures:
            line["measures"] = {name: _finite(value) for name, value in self.measures.items()}
        return json.dumps(line, allow_nan=False)


class RunLog:
    """Appends entries to the log of a run that goes on from `step`.

    What a crash left of later steps is dropped at the first write, as those steps are taken again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._step = step
        self._file: IO[str] | None = None
        self._board: Any = None

    def write(self, entry: Entry) -> None:
        """Add a step. Raises ReadOnlyError where the folder cannot be written."""
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                _keep_until(self._folder / LOG_FILE, self._step)
                self._board = _tensorboard(self._folder, self._step)
                self._file = (self._folder / LOG_FILE).open("a", encoding="utf-8")
            self._file.write(entry.as_json() + "\n")
            self._file.flush()
            if self._board is not None:
                _show(self._board, entry)
        except OSError as error:
            raise ReadOnlyError(
                f"{self._folder}: the log cannot be written ({error.strerror})"
            ) from error

    def close(self) -> None:
        """Finish the files; there may be none."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _keep_until(path: Path, step: int) -> None:
    """Drop the entries after `step`, and a last line that a crash cut off."""
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _is_until(line, step)]
    if kept != lines:
        aside = path.with_name(f".{path.name}.aside")
        aside.write_bytes(b"".join(kept))
        os.replace(aside, path)


def _is_until(line: bytes, step: int) -> bool:
    try:
        written = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return False
    return line.endswith(b"\n") and isinstance(written, int) and written <= step


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # an extra; log.jsonl says the same
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def _show(board: Any, entry: Entry) -> None:
    board.add_scalar("train/loss", entry.loss, entry.step)
    board.add_scalar("train/learning_rate", entry.learning_rate, entry.step)
    if entry.batches_per_second is not None:
        board.add_scalar("train/batches_per_second", entry.batches_per_second, entry.step)
    for name, value in entry.measures.items():
        board.add_scalar(f"dev/{name}", value, entry.step)
