"""Arrays that take long to compute, kept in files: the same command goes on from what is there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.data.files import made_directory


class ArrayCache:
    """Arrays in a directory, each known by everything that it depends on."""

    def __init__(self, folder: Path) -> None:
        self._folder = made_directory(folder)

    def get(
        self, label: str, depends: object, make: Callable[[], npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        """The array of this label and of these values, whose `repr` must say all about them.

        A file that is not whole is made again.
        """
        digest = hashlib.sha256(repr((label, depends)).encode()).hexdigest()[:20]
        path = self._folder / f"{label}-{digest}.npy"
        try:
            found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            found = make()
            aside = path.with_name(f".{path.name}.{os.getpid()}.npy")
            np.save(aside, found, allow_pickle=False)
            aside.replace(path)
        return found
