"""Specialists on disk: what is written is read, damage is named, and nothing whole is ever lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, new_adapter
from pointsman.backbone.specialist import (
    CARD_FILE,
    HEAD_FILE,
    SPECIALIST_FILE,
    Specialist,
    load_specialist,
    save_specialist,
)
from pointsman.errors import ModelError, ReadOnlyError, SpecialistError
from tiny import flip_byte

ADAPTER_FILE = "adapter_model.safetensors"


@pytest.fixture
def specialist(tiny: Backbone) -> Specialist:
    generator = torch.Generator().manual_seed(5)
    fresh = new_adapter(tiny.model, 3, 6, generator)
    adapter = LoraAdapter(
        {
            name: LowRank(pair.a, torch.randn(pair.b.shape, generator=generator), pair.scale)
            for name, pair in fresh.layers.items()
        }
    )
    return Specialist(
        kind="reader",
        name="tiny-reader",
        base_sha256=tiny.identity.sha256,
        base_name=tiny.identity.name,
        adapter=adapter,
        head={"weight": torch.randn(2, 32, generator=generator), "bias": torch.zeros(2)},
        settings={"max_length": 64, "calibration": {"weights": [1.0, 0.5, 0.0], "bias": -0.25}},
        training={"command": "train reader", "seed": 3},
        numbers={"f1": 74.4},
        card="# A reader\n\nReads — naïvely.\n",
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_round_trip_in_half_precision(tmp_path: Path, specialist: Specialist) -> None:
    save_specialist(specialist, tmp_path / "s")
    back = load_specialist(tmp_path / "s", "reader")
    plain = {"adapter": None, "head": {}}
    assert replace(back, **plain) == replace(specialist, **plain)  # type: ignore[arg-type]
    expected = {**specialist.adapter.tensors(), **specialist.head}
    found = {**back.adapter.tensors(), **back.head}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == torch.float16
        assert torch.equal(found[name], tensor.half())
    for name, pair in specialist.adapter.layers.items():
        assert back.adapter.layers[name].scale == pytest.approx(pair.scale)


def test_full_precision_and_the_files_there(tmp_path: Path, specialist: Specialist) -> None:
    save_specialist(specialist, tmp_path / "deep" / "s", torch.float32)
    back = load_specialist(tmp_path / "deep" / "s")
    assert torch.equal(back.head["weight"], specialist.head["weight"])
    assert sorted(contents(tmp_path)) == [
        "deep/s/README.md",
        "deep/s/adapter_config.json",
        "deep/s/adapter_model.safetensors",
        "deep/s/head.safetensors",
        "deep/s/specialist.json",
    ]


def test_a_specialist_without_a_head_or_a_card(tmp_path: Path, specialist: Specialist) -> None:
    save_specialist(replace(specialist, head={}, card=""), tmp_path / "s")
    (tmp_path / "s" / CARD_FILE).unlink()
    back = load_specialist(tmp_path / "s")
    assert (dict(back.head), back.card) == ({}, "")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip_first(file: Path) -> None:
    flip_byte(file, 0)


@pytest.mark.parametrize("name", [HEAD_FILE, ADAPTER_FILE])
@pytest.mark.parametrize("damage", [truncate, empty, flip_byte, flip_first])
def test_damage_names_the_file(
    tmp_path: Path, specialist: Specialist, name: str, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "s"
    save_specialist(specialist, folder)
    damage(folder / name)
    with pytest.raises(
        SpecialistError, match=f"{name}: corrupt .*copy or train it again"
    ) as caught:
        load_specialist(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [HEAD_FILE, ADAPTER_FILE, "adapter_config.json"])
def test_a_file_that_is_missing(tmp_path: Path, specialist: Specialist, name: str) -> None:
    save_specialist(specialist, tmp_path / "s")
    (tmp_path / "s" / name).unlink()
    with pytest.raises(SpecialistError, match=f"{name}: missing"):
        load_specialist(tmp_path / "s")


def described(folder: Path, **changes: Any) -> Path:
    """The same specialist with another description; None takes a key away."""
    path = folder / SPECIALIST_FILE
    given = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in given.items() if v is not None}))
    return folder


@pytest.mark.parametrize("where", ["missing", "empty", "a file"])
def test_not_a_specialist(tmp_path: Path, where: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    with pytest.raises(SpecialistError, match=r"not a specialist \(no specialist\.json\)"):
        load_specialist(tmp_path / where)


def test_a_format_of_the_future(tmp_path: Path, specialist: Specialist) -> None:
    save_specialist(specialist, tmp_path / "s")
    described(tmp_path / "s", format_version=99)
    with pytest.raises(SpecialistError, match=r"format 99 is newer .* upgrade"):
        load_specialist(tmp_path / "s")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": None},
        {"name": None},
        {"base": None},
        {"base": {"name": "tiny"}},
        {"base": "tiny"},
        {"files": None},
        {"format_version": "one"},
        {"format_version": None},
    ],
)
def test_a_description_that_lacks_something(
    tmp_path: Path, specialist: Specialist, changes: dict[str, Any]
) -> None:
    save_specialist(specialist, tmp_path / "s")
    with pytest.raises(SpecialistError, match=r"specialist\.json: corrupt"):
        load_specialist(described(tmp_path / "s", **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_description_that_is_no_description(
    tmp_path: Path, specialist: Specialist, text: str
) -> None:
    save_specialist(specialist, tmp_path / "s")
    (tmp_path / "s" / SPECIALIST_FILE).write_text(text)
    with pytest.raises(SpecialistError, match=r"specialist\.json: corrupt"):
        load_specialist(tmp_path / "s")


def test_another_kind(tmp_path: Path, specialist: Specialist) -> None:
    save_specialist(specialist, tmp_path / "s")
    with pytest.raises(SpecialistError, match="of kind 'reader', but 'grader' is needed"):
        load_specialist(tmp_path / "s", "grader")


def test_saving_over_a_specialist_replaces_it_whole(tmp_path: Path, specialist: Specialist) -> None:
    folder = tmp_path / "s"
    save_specialist(specialist, folder)
    (folder / "notes.txt").write_text("of the old one")
    save_specialist(replace(specialist, name="second", head={}), folder)
    assert load_specialist(folder).name == "second"
    assert not (folder / "notes.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_place_that_cannot_be_written(tmp_path: Path, specialist: Specialist) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReadOnlyError, match=r"file/s: cannot be written"):
        save_specialist(specialist, tmp_path / "file" / "s")
    assert contents(tmp_path) == {"file": b"in the way"}


def unsaveable(specialist: Specialist) -> Specialist:
    """Its head's tensor has no data, so that writing fails after the adapter has been written."""
    head: dict[str, Tensor] = {"weight": torch.empty(2, 32, device="meta")}
    return replace(specialist, name="broken", head=head)


def test_a_crash_in_the_middle_leaves_the_old_one(tmp_path: Path, specialist: Specialist) -> None:
    folder = tmp_path / "s"
    save_specialist(specialist, folder)
    before = contents(tmp_path)
    with pytest.raises((RuntimeError, NotImplementedError)):
        save_specialist(unsaveable(specialist), folder)
    assert contents(tmp_path) == before
    with pytest.raises((RuntimeError, NotImplementedError)):
        save_specialist(unsaveable(specialist), tmp_path / "new")
    assert contents(tmp_path) == before
    with pytest.raises(TypeError):  # the description is written last
        save_specialist(replace(specialist, numbers={"f1": object()}), folder)
    assert contents(tmp_path) == before


def test_what_is_not_a_specialist_is_not_replaced(tmp_path: Path, specialist: Specialist) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "thesis.txt").write_text("the only copy")
    with pytest.raises(SpecialistError, match=r"documents: .*not a specialist"):
        save_specialist(specialist, folder)
    assert contents(tmp_path) == {"documents/thesis.txt": b"the only copy"}
    with pytest.raises(SpecialistError, match=r"thesis\.txt: .*not a specialist"):
        save_specialist(specialist, folder / "thesis.txt")
    assert contents(tmp_path) == {"documents/thesis.txt": b"the only copy"}
    (tmp_path / "vacant").mkdir()
    save_specialist(specialist, tmp_path / "vacant")
    assert load_specialist(tmp_path / "vacant").name == "tiny-reader"


def test_errors_of_specialists_are_errors_of_models() -> None:
    assert issubclass(SpecialistError, ModelError)
