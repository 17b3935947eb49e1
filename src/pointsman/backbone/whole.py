"""A folder that stands under its name whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pointsman.errors import ReadOnlyError, SpecialistError


@contextmanager
def whole_folder(folder: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """A folder aside that takes the place of `folder` when the block ends without error.

    Until then, and after a failure, what stood at `folder` is untouched. `check` raises where that
    may not be replaced. Raises ReadOnlyError where nothing can be written.
    """
    check(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ReadOnlyError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        yield aside
        # What mkdtemp and safetensors make is for its owner alone; a specialist is to be shared.
        for path in (aside, *aside.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        # Writing takes a while, and somebody may have put something there.
        check(folder)
        _replace(folder, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_only_over(folder: Path, marker: str, what: str) -> None:
    """Raise SpecialistError where something else than `what` is, whose folders hold the file `marker`."""
    taken = folder.is_dir() and any(folder.iterdir()) and not (folder / marker).is_file()
    if folder.is_file() or taken:
        raise SpecialistError(
            f"{folder}: is there and is not {what}, so it is not replaced; name another place"
        )


def _replace(folder: Path, aside: Path) -> None:
    """Move `aside` to `folder`; what is there goes when the new one stands."""
    if not folder.exists():
        os.replace(aside, folder)
        return
    retired = folder.with_name(f".{folder.name}-retired")
    shutil.rmtree(retired, ignore_errors=True)
    try:
        os.replace(folder, retired)
        os.replace(aside, folder)
    finally:
        if not folder.exists():
            os.replace(retired, folder)
    shutil.rmtree(retired, ignore_errors=True)
