"""What each row gave to each question with each seed, in small files that go with the tables.

A seed takes the better part of an hour: with its file there another machine adds the next one, or
computes another statistic, and trains nothing again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.data.arrays import reading_arrays, write_arrays
from pointsman.data.files import made_directory

Arrays = Mapping[str, npt.NDArray[np.floating]]


class Outcomes:
    """One file for each kind of questions and seed; `depends` is all that they depend on but the row.

    Its `repr` must say all about it; what depends on something else stands in other files. Raises
    ReadOnlyError where the folder cannot be made.
    """

    def __init__(self, folder: Path, kind: str, depends: object) -> None:
        self._folder = made_directory(folder)
        self._name = f"{kind}-{hashlib.sha256(repr(depends).encode()).hexdigest()[:12]}"

    def get(self, seed: int, row: str, make: Callable[[], Arrays]) -> Arrays:
        """A row's arrays by name, made where there are none. Raises FormatError for a file that is not whole."""
        path = self._folder / f"{self._name}-seed-{seed}.npz"
        kept = _read(path)
        begins = f"{row} | "
        found = {k.removeprefix(begins): v for k, v in kept.items() if k.startswith(begins)}
        if found:
            return found
        # As they will be read again, so that a table is the same whoever measured.
        made = {name: value.astype(np.float32) for name, value in make().items()}
        kept |= {f"{begins}{name}": value for name, value in made.items()}
        write_arrays(path, kept)
        return made


def _read(path: Path) -> dict[str, npt.NDArray[np.floating]]:
    if not path.exists():
        return {}
    with reading_arrays(path, "outcomes of a selection run") as file:
        return dict(file)
