"""Frozen means computed once: the lower layers' states of texts, kept in a memory-mapped file.

A file belongs to one base (by hash), one number of layers and one dtype; a text is known by its
token ids, so the same text with another prompt or length is another one. States lie one after the
other in NAME.states, and NAME.index says where each begins. Both only ever grow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from pointsman.backbone.encoder import Backbone, EarlyStates
from pointsman.errors import ReadOnlyError

_RECORD = np.dtype([("key", "V16"), ("offset", "<u8"), ("length", "<u4")])
# numpy has no bfloat16: half precisions are kept as the integers of their bits.
_KEPT_AS: dict[torch.dtype, tuple[Any, torch.dtype]] = {
    torch.float32: (np.float32, torch.float32),
    torch.bfloat16: (np.int16, torch.int16),
    torch.float16: (np.int16, torch.int16),
}
# States computed before they are written: bounds memory, and what an interruption loses.
_AT_ONCE = 1_024


class StateCache:
    """States [length, d] by token ids, of one backbone's first `layers` layers.

    Several processes may use a folder at once; one at a time writes. What an interrupted write left
    behind is not in the index and is written over.
    """

    def __init__(self, folder: Path, backbone: Backbone, layers: int) -> None:
        self._backbone = backbone
        self._layers = layers
        self._numpy_dtype, self._kept_dtype = _KEPT_AS[backbone.dtype]
        dtype = str(backbone.dtype).removeprefix("torch.")
        name = f"{backbone.identity.sha256[:16]}-{layers}-{dtype}"
        self._data, self._index = folder / f"{name}.states", folder / f"{name}.index"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in (self._data, self._index):
                path.touch()
        except OSError as error:
            raise ReadOnlyError(f"{folder}: cannot be written ({error.strerror})") from error
        self._lock = FileLock(folder / f"{name}.lock")
        self._width = backbone.shape.width
        self._places: dict[bytes, tuple[int, int]] = {}
        self._read = 0
        self._end = 0
        self._map: npt.NDArray[Any] | None = None
        self._refresh()

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self._places)

    @property
    def nbytes(self) -> int:
        """Size of the states on disk in bytes."""
        return self._data.stat().st_size

    def begin(self, texts: Sequence[str], *, prompt: str | None = None) -> EarlyStates:
        """What `Backbone.begin` gives for the texts; only those that are not there are computed."""
        ids = self._backbone.token_ids(texts, prompt)
        keys = [_key(row) for row in ids]
        missing = {key: i for i, key in enumerate(keys) if key not in self._places}
        if missing:
            with self._lock:
                self._refresh()
                wanted = [i for key, i in missing.items() if key not in self._places]
                for start in range(0, len(wanted), _AT_ONCE):
                    part = wanted[start : start + _AT_ONCE]
                    states = self._backbone.begin_ids([ids[i] for i in part], self._layers)
                    self._append([keys[i] for i in part], states.rows)
                    self._refresh()
        return EarlyStates(tuple(self._row(key) for key in keys), self._layers)

    def _row(self, key: bytes) -> Tensor:
        offset, length = self._places[key]
        assert self._map is not None
        kept = torch.from_numpy(self._map[offset : offset + length])
        return kept.view(self._backbone.dtype).to(self._backbone.device)

    def _append(self, keys: Sequence[bytes], rows: Sequence[Tensor]) -> None:
        records = np.zeros(len(keys), dtype=_RECORD)
        size = self._width * np.dtype(self._numpy_dtype).itemsize
        offset = self._end
        with self._data.open("r+b") as file:
            # Whatever lies behind the last state in the index was left by an interrupted write.
            file.truncate(offset * size)
            file.seek(offset * size)
            for i, (key, row) in enumerate(zip(keys, rows, strict=True)):
                file.write(row.cpu().contiguous().view(self._kept_dtype).numpy().tobytes())
                records[i] = (key, offset, len(row))
                offset += len(row)
        # The index last: a state is there when its record is.
        with self._index.open("r+b") as file:
            file.truncate(self._read * _RECORD.itemsize)
            file.seek(0, 2)
            file.write(records.tobytes())

    def _refresh(self) -> None:
        """Take in what this or another process wrote since."""
        with self._index.open("rb") as file:
            file.seek(self._read * _RECORD.itemsize)
            data = file.read()
        found = np.frombuffer(data[: len(data) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)
        for key, offset, length in found:
            self._places[bytes(key)] = (int(offset), int(length))
            self._end = max(self._end, int(offset) + int(length))
        self._read += len(found)
        rows = self.nbytes // (self._width * np.dtype(self._numpy_dtype).itemsize)
        if rows:
            # Copy on write: torch wants writable memory, and nothing may reach the file.
            self._map = np.memmap(
                self._data, self._numpy_dtype, mode="c", shape=(rows, self._width)
            )


def _key(ids: Sequence[int]) -> bytes:
    return hashlib.blake2b(np.asarray(ids, dtype="<i8").tobytes(), digest_size=16).digest()
