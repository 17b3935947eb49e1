"""A folder stands whole or not at all, and what stood there before is not lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.backbone.whole import whole_folder
from pointsman.errors import InputError, ReadOnlyError


def anything(folder: Path) -> None:
    """Whatever is there may be replaced."""


def nothing(folder: Path) -> None:
    if folder.exists():
        raise InputError(f"{folder}: taken")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def old(place: Path) -> Path:
    (place / "s").mkdir()
    (place / "s" / "old").write_text("old")
    return place / "s"


def test_nothing_stands_there_until_all_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "s"
    with whole_folder(folder, nothing) as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "one").write_text("1")
        assert not folder.exists()
        assert aside.parent == folder.parent  # else moving it could be copying
    assert contents(tmp_path) == {"deep/s/inner/one": "1"}
    assert list(folder.parent.iterdir()) == [folder]


def test_what_was_there_stands_until_all_is_written(tmp_path: Path) -> None:
    folder = old(tmp_path)
    with whole_folder(folder, anything) as aside:
        (aside / "new").write_text("new")
        assert contents(folder) == {"old": "old"}
    assert contents(tmp_path) == {"s/new": "new"}
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_others_may_read_it(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "s", nothing) as aside:
        (aside / "inner").mkdir(mode=0o700)
        (aside / "inner" / "one").touch(mode=0o600)
    modes = [(tmp_path / "s" / name).stat().st_mode & 0o777 for name in ("", "inner", "inner/one")]
    assert modes == [0o755, 0o755, 0o644]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_failure_half_way(tmp_path: Path, error: type[BaseException]) -> None:
    def write(folder: Path) -> None:
        with whole_folder(folder, anything) as aside:
            (aside / "half").write_text("half")
            raise error

    folder = old(tmp_path)
    for place in (folder, tmp_path / "new"):
        with pytest.raises(error):
            write(place)
        assert list(tmp_path.iterdir()) == [folder]
        assert contents(folder) == {"old": "old"}


def test_a_refusal_comes_before_anything_is_written(tmp_path: Path) -> None:
    entered = False
    with pytest.raises(InputError, match="taken"), whole_folder(old(tmp_path), nothing):
        entered = True
    assert not entered
    assert contents(tmp_path) == {"s/old": "old"}


def test_what_comes_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "s", nothing) as aside:
            (aside / "new").write_text("new")
            old(tmp_path)

    with pytest.raises(InputError, match="taken"):
        write()
    assert list(tmp_path.iterdir()) == [tmp_path / "s"]
    assert contents(tmp_path) == {"s/old": "old"}


def test_a_move_that_fails_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, move = old(tmp_path), os.replace

    def replace(source: Path, target: Path) -> None:
        if (source / "new").exists():
            raise OSError("the disk is gone")
        move(source, target)

    def write() -> None:
        with whole_folder(folder, anything) as aside:
            (aside / "new").write_text("new")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="the disk is gone"):
        write()
    assert list(tmp_path.iterdir()) == [folder]
    assert contents(folder) == {"old": "old"}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    entered = False
    with (
        pytest.raises(ReadOnlyError, match=r"file/s: cannot be written"),
        whole_folder(tmp_path / "file" / "s", anything),
    ):
        entered = True
    assert not entered
    assert contents(tmp_path) == {"file": "in the way"}
