"""What the commands that train have in common: a free place, progress, Ctrl-C, the words for the card."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.cli.output import Working, duration
from pointsman.cli.places import can_be_written
from pointsman.errors import ReadOnlyError

if TYPE_CHECKING:
    from pointsman.backbone.encoder import Backbone
    from pointsman.backbone.specialist import Specialist
    from pointsman.training.loop import Progress

# A log of a run of hours wants a line a minute, and one for every evaluation.
LOG_EVERY = 60.0


class Shown:
    """Progress of training as one line, with the measures of the last evaluation.

    Measures in [0, 1] are shown times `scale`.
    """

    def __init__(self, working: Working, scale: float = 1.0) -> None:
        self._working = working
        self._scale = scale
        self._measures = ""

    def __call__(self, progress: Progress, doing: str = "") -> None:
        """Show where training stands; `doing` comes first."""
        if progress.measures:
            values = (f"{k} {v * self._scale:.1f}" for k, v in progress.measures.items())
            self._measures = f" · dev {', '.join(values)}"
        self._working.say(
            f"{doing}step {progress.step:,} of {progress.steps:,} · loss {progress.loss:.3f}"
            f"{self._measures} · {duration(progress.remaining)} left",
            now=bool(progress.measures),
        )


def check_free(folder: Path, check: Callable[[Path], None] | None = None) -> None:
    """What saving would refuse at the end of hours, refused now.

    `check` raises where the folder may not be replaced, by default where it is no specialist.
    """
    from pointsman.backbone.specialist import check_replaceable

    (check or check_replaceable)(folder)
    if not can_be_written(folder.parent):
        raise ReadOnlyError(f"{folder}: cannot be written; name another place with --out")


def encoder_to_train(name: str | Path | None, device: str = "auto") -> Backbone:
    """The encoder as it trains best."""
    from pointsman.backbone.encoder import Backbone

    return Backbone.load(name, device=device, to_train=True)


def reader_folder(name: str) -> Path:
    """A reader's folder; that of the one that ships for "default"."""
    from pointsman.workspace import DEFAULT_READER, SHIPPED

    return SHIPPED / DEFAULT_READER if name == "default" else Path(name)


def grader_folder(name: str) -> Path:
    """A grader's folder; that of the one that ships for "default"."""
    from pointsman.workspace import DEFAULT_GRADER, SHIPPED

    return SHIPPED / DEFAULT_GRADER if name == "default" else Path(name)


def specialist_to_start(name: str) -> Specialist | None:
    """The specialist that training begins as: a folder, the reader that ships for "default", or none."""
    from pointsman.backbone.specialist import load_specialist

    if name == "none":
        return None
    return load_specialist(reader_folder(name))


def fitting(base: Backbone, name: str, begun: Specialist | None) -> Specialist | None:
    """That specialist where it is of this encoder; of another one the default is none, not an error."""
    if begun is None or begun.base_sha256 == base.identity.sha256:
        return begun
    if name != "default":
        base.check_base(name, begun.base_sha256)
    return None


def drop_checkpoints(*runs: Path) -> None:
    """Forget what earlier runs in these folders left."""
    from pointsman.training.checkpoint import checkpoints

    for run in runs:
        for checkpoint in checkpoints(run):
            shutil.rmtree(checkpoint)


@contextmanager
def interruptible(*runs: Path) -> Iterator[None]:
    """Ctrl-C says in which of these folders, filled one after the other, or folders of such, the last
    checkpoint lies.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = [each for run in runs for each in _with_checkpoints(run)]
        if not kept:
            raise KeyboardInterrupt("interrupted before there was anything to keep") from None
        raise KeyboardInterrupt(
            f"interrupted; a checkpoint is in {kept[-1]}, and the same command goes on from there"
        ) from None


def _with_checkpoints(run: Path) -> list[Path]:
    """A run with checkpoints, or those within a folder that has none itself, the latest last."""
    from pointsman.training.checkpoint import checkpoints

    if checkpoints(run):
        return [run]
    within = {each.parent for each in run.rglob("checkpoint-*") if checkpoints(each.parent)}
    return sorted(within, key=lambda each: each.stat().st_mtime)


def command_words(arguments: Sequence[str]) -> str:
    """This command for the card, without anybody's directories."""
    from pointsman.evaluate.results import Provenance

    words = ["pointsman", *arguments]
    return shlex.join(Provenance.collect(words, None, time.time()).command)
