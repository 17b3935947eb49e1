"""Arrays that take long to compute, kept in files: the same command goes on from what is there.

A cache makes again what is not whole; what goes with results is not replaced unasked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from pointsman.data.files import made_directory
from pointsman.errors import FormatError


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


@contextmanager
def reading_arrays(path: Path, what: str) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The named arrays of a file, while the block reads them.

    Raises FormatError, saying that it is no such thing as `what`, for a file that is not whole, and where
    the block misses an array or finds it to be none of the kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise FormatError(path, f"no {what} ({error}); delete it") from error


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Put named arrays into one packed file, as a whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.npz")
    with aside.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    aside.replace(path)
