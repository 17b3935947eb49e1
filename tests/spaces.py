"""Workspaces for tests: a few documents, and a reader of random weights that always answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, new_adapter
from pointsman.backbone.pair_features import feature_width
from pointsman.backbone.specialist import Specialist, save_specialist
from pointsman.grade.grader import KIND as GRADER
from pointsman.grade.grader import GraderSettings
from pointsman.grade.head import GradeHead
from pointsman.joint.looking import LookPart, LookSettings
from pointsman.read.head import SpanHead
from pointsman.read.reader import KIND, ReaderSettings
from pointsman.read.recipe import read_trained
from pointsman.select.looked import FEATURES, Choice
from pointsman.select.pointer import PointerHead
from pointsman.select.selector import KIND as SELECTOR
from pointsman.select.selector import SelectorSettings, candidate_width
from pointsman.workspace import SETTINGS_FILE, SPECIALISTS, Workspace

READER = "random"

NOTES = {
    "bridges.md": "# Bridges\n\nThe first iron bridge was designed by Thomas Pritchard and opened in"
    " 1781.\n\nIt crosses the river Severn.",
    "tea.txt": "Green tea is brewed at eighty degrees, black tea at ninety-five.",
    "deep/stars.txt": "Sirius is the brightest star of the night sky. It is 8.6 light years away.",
}
CORPUS = {
    "owl": ("Owls", "An owl turns its head by 270 degrees."),
    "bee": ("Bees", "A honey bee visits two million flowers for a pound of honey."),
    "eel": ("", "The European eel spawns in the Sargasso Sea."),
}


@cache
def default_backbone() -> Backbone:
    """The encoder that ships, in full precision, loaded once for all tests."""
    return Backbone.load(device="cpu", dtype="fp32")


def random_adapter(backbone: Backbone, seed: int = 0, rank: int = 2) -> LoraAdapter:
    """An adapter that changes what the base says; a new one does not, for its B is zero."""
    generator = torch.Generator().manual_seed(seed)
    return LoraAdapter(
        {
            name: LowRank(pair.a, 0.3 * torch.randn(pair.b.shape, generator=generator), pair.scale)
            for name, pair in new_adapter(backbone.model, rank, rank, generator).layers.items()
        }
    )


def write_reader(folder: Path, backbone: Backbone, seed: int = 0, max_length: int = 128) -> Path:
    """A reader specialist of random weights; its head is large, so that no two spans tie."""
    generator = torch.Generator().manual_seed(seed)
    head = SpanHead.fresh(int(backbone.model.config.hidden_size), generator).tensors
    specialist = Specialist(
        kind=KIND,
        name=folder.name,
        base_sha256=backbone.identity.sha256,
        base_name=backbone.identity.name,
        adapter=random_adapter(backbone, seed),
        head={"weight": 30 * head["weight"], "bias": head["bias"]},
        settings=ReaderSettings(max_length=max_length, overlap=32, answer_width=8).record(),
    )
    save_specialist(specialist, folder)
    return folder


def write_grader(folder: Path, backbone: Backbone, seed: int = 0) -> Path:
    """A grader specialist of random weights with three grades, that no two passages tie in."""
    generator = torch.Generator().manual_seed(seed)
    width = feature_width(backbone.shape.width)
    head = GradeHead.fresh("plain", width, 3, 0, generator).tensors
    specialist = Specialist(
        kind=GRADER,
        name=folder.name,
        base_sha256=backbone.identity.sha256,
        base_name=backbone.identity.name,
        adapter=random_adapter(backbone, seed),
        head={name: 5 * tensor for name, tensor in head.items()},
        settings=GraderSettings(("no", "some", "yes"), max_length=96).record(),
        numbers={"dev": {"measure": "nll", "best": 0.5}},
    )
    save_specialist(specialist, folder)
    return folder


def write_selector(folder: Path, backbone: Backbone, seed: int = 0) -> Path:
    """A selector specialist of random weights that chooses at most three passages, in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    head = PointerHead.fresh(candidate_width(backbone.shape.width), 16, generator).tensors
    specialist = Specialist(
        kind=SELECTOR,
        name=folder.name,
        base_sha256=backbone.identity.sha256,
        base_name=backbone.identity.name,
        adapter=random_adapter(backbone, seed),
        head=head | {"score": 50 * head["score"]},
        settings=SelectorSettings("pointer", 3, 96).record(),
        numbers={"dev": {"measure": "f1", "best": 50.0}},
    )
    save_specialist(specialist, folder)
    return folder


def write_looking_selector(folder: Path, backbone: Backbone, seed: int = 0) -> Path:
    """A selector that looks through the reader of `write_reader`, and goes by the best span alone."""
    reader = read_trained(backbone, write_reader(folder.with_name("looker"), backbone, seed))
    weights = np.array([float(name == "best span") for name in FEATURES])
    settings = LookSettings(3, ReaderSettings(max_length=128, overlap=32, answer_width=8))
    specialist = Specialist(
        kind=SELECTOR,
        name=folder.name,
        base_sha256=backbone.identity.sha256,
        base_name=backbone.identity.name,
        adapter=reader.adapter,
        head=LookPart(reader, Choice(weights)).head(),
        settings=settings.record(),
    )
    save_specialist(specialist, folder)
    return folder


def write_notes(folder: Path, notes: Mapping[str, str] = NOTES) -> Path:
    """A folder of someone's own documents."""
    for name, text in notes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def write_corpus(folder: Path, corpus: Mapping[str, tuple[str, str]] = CORPUS) -> Path:
    """A BEIR directory; judgements are not needed for indexing."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"_id": id, "title": title, "text": text})
        for id, (title, text) in corpus.items()
    ]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def change_settings(folder: Path, **sections: object) -> None:
    """Write to a workspace's settings file what a person would write."""
    file = folder / SETTINGS_FILE
    values = yaml.safe_load(file.read_text("utf-8"))
    for name, value in sections.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(values), encoding="utf-8")


def make_space(folder: Path, backbone: Backbone, name: Path | None = None) -> Workspace:
    """A workspace with a reader of its own that always answers; `name` is where the backbone is."""
    Workspace.create(folder, backbone=name)
    write_reader(folder / SPECIALISTS / READER, backbone)
    change_settings(
        folder, device="cpu", dtype="fp32", read={"reader": READER, "min_confidence": 0.0}
    )
    return open_space(folder, backbone)


def open_space(folder: Path, backbone: Backbone, **overrides: object) -> Workspace:
    """Open a workspace with a backbone that is loaded already. `read__n_best=3` is read.n_best."""
    space = Workspace.open(
        folder, overrides={key.replace("__", "."): value for key, value in overrides.items()}
    )
    space.backbone = backbone
    return space
