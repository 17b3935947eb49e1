"""Small real indexes: random unit vectors, and an encoder that hashes words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pointsman.deadline import Deadline
from pointsman.retrieve.lance import LanceIndex
from pointsman.types import BackboneIdentity, FloatArray, Passage

DIMENSION = 8


class HashEncoder:
    """Each word has its own random direction; a text is the sum of its words. Counts its work."""

    def __init__(self) -> None:
        self.identity = BackboneIdentity("ab" * 32, "hash", DIMENSION, "mean", 256)
        self.encoded: list[str] = []

    def encode(
        self,
        texts: Sequence[str],
        adapter: str | Sequence[str | None] | None = None,
        *,
        prompt: str | None = None,
        deadline: Deadline | None = None,
    ) -> FloatArray:
        if deadline is not None:
            deadline.check("encoding")
        assert prompt == "document"
        self.encoded.extend(texts)
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> FloatArray:
        total = np.zeros(DIMENSION)
        for word in text.split() or [text]:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            total += np.random.default_rng(seed).standard_normal(DIMENSION)
        return (total / np.linalg.norm(total)).astype(np.float32)


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def identity(encoder: HashEncoder) -> BackboneIdentity:
    return encoder.identity


@pytest.fixture
def index(tmp_path: Path, identity: BackboneIdentity) -> Iterator[LanceIndex]:
    with LanceIndex.create(tmp_path / "index", identity) as made:
        yield made


@pytest.fixture
def unit() -> Callable[..., FloatArray]:
    """Random unit vectors [n, DIMENSION], the same for the same seed."""

    def make(n: int, seed: int = 0) -> FloatArray:
        vectors = np.random.default_rng(seed).standard_normal((n, DIMENSION))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return make


@pytest.fixture
def numbered() -> Callable[..., list[Passage]]:
    """Passages p000, p001, … with metadata to filter by."""

    def make(n: int, first: int = 0) -> list[Passage]:
        return [
            Passage(
                id=f"p{i:03d}",
                text=f"passage number{i} about {'apples' if i % 2 else 'pears'}",
                title=f"Title {i % 3}",
                document=f"doc{i // 4}",
                start=i,
                end=i + 10,
                metadata={"year": 2000 + i % 5, "public": i % 2 == 0, "lang": "en"},
            )
            for i in range(first, first + n)
        ]

    return make
