"""A tiny backbone with two experts, and the collection that it is asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from greek import Collection, WordRouter

from domains import COLOURS, LETTERS
from pointsman.backbone.encoder import Backbone
from pointsman.integrations.sentence_encoder import SentenceEncoder
from pointsman.types import FloatArray
from spaces import random_adapter
from tiny import write_tiny


@pytest.fixture(scope="session")
def collection() -> Collection:
    """16 documents of which some have a title, 12 queries with one or two relevant documents."""
    made = Collection()
    for i, (letter, colour) in enumerate(zip(LETTERS, COLOURS, strict=True)):
        after = (i + 1) % len(LETTERS)
        made.corpus[f"o{i}"] = {"title": letter, "text": f"after {letter} comes {LETTERS[after]}"}
        made.corpus[f"c{i}"] = {"title": "", "text": f"the colour of {letter} is {colour}"}
        made.queries[f"q{i}"] = f"what follows {letter}?"
        made.qrels[f"q{i}"] = {f"o{i}": 1, f"o{after}": 1}
        if i % 2:
            made.queries[f"r{i}"] = f"what is the colour of {letter}?"
            made.qrels[f"r{i}"] = {f"c{i}": 1}
    return made


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def backbone(tiny_folder: Path) -> Backbone:
    loaded = Backbone.load(tiny_folder, device="cpu", dtype="fp32")
    for seed, name in enumerate(WordRouter.experts[1:]):
        loaded.add_adapter(name, random_adapter(loaded, seed))
    return loaded


@pytest.fixture
def encoder(backbone: Backbone) -> SentenceEncoder:
    return SentenceEncoder(backbone, WordRouter())


@pytest.fixture
def queries_by_hand(backbone: Backbone, collection: Collection) -> FloatArray:
    """Query vectors as the router's weights say, one text at a time."""
    rows = []
    for text in collection.queries.values():
        if "colour" in text:
            mixed = backbone.encode([text], "colours", prompt="query")[0]
        else:
            base = backbone.encode([text], prompt="query")[0]
            mixed = 0.3 * base + 0.7 * backbone.encode([text], "order", prompt="query")[0]
        rows.append(mixed / np.linalg.norm(mixed))
    return np.stack(rows)
