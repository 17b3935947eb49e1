"""doctor: what is installed, and what to do about what is not."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
from command_line import invoke

from pointsman.cli.doctor import Check, directories, packages
from pointsman.cli.places import cache_directory, can_be_written


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_doctor_says_what_is_here_and_leaves_with_0_or_7(tmp_path: Path) -> None:
    result = invoke("doctor", "--json", env={"POINTSMAN_CACHE": str(tmp_path)})
    shown = json.loads(result.stdout)
    checks = {check["name"]: check for check in shown["checks"]}
    lacking = [name for name, check in checks.items() if check["needed"] and not check["fine"]]
    assert result.exit_code == (7 if lacking else 0)
    assert shown["fine"] == (not lacking)
    assert set(lacking) <= {"reader"}
    assert checks["torch"]["found"] == importlib.metadata.version("torch")
    assert "as expected" in checks["encoder"]["found"]
    assert not checks["grader"]["needed"]
    assert checks["cache"]["found"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_doctor_for_people_fits_80_columns() -> None:
    result = invoke("doctor", env={"POINTSMAN_CACHE": "cache"})
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "lancedb" in result.stdout


def test_packages_that_are_missing_or_too_old() -> None:
    found = by_name(
        list(
            packages(
                [
                    "no-such-package>=2",
                    "numpy>=1",
                    "rich>=999",
                    "other-system; sys_platform == 'nowhere'",
                    "numpy>=1; extra == 'maths'",
                    'no-such-package; extra == "chat"',
                    'numpy; extra == "chat"',
                ]
            )
        )
    )
    missing = found["no-such-package"]
    assert (missing.fine, missing.needed, missing.found) == (False, True, "not installed")
    assert missing.remedy == "pip install 'no-such-package>=2'"
    assert found["numpy"].fine
    assert not found["rich"].fine
    assert "another version is needed" in found["rich"].found
    assert "other-system" not in found
    assert found["extra: maths"].fine
    chat = found["extra: chat"]
    assert (chat.fine, chat.needed) == (False, False)
    assert chat.found == "not installed: no-such-package"
    assert chat.remedy == "pip install 'pointsman[chat]'"


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_CACHE", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.delenv("POINTSMAN_CACHE")
    assert cache_directory().name == "pointsman"


def test_whether_a_place_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert can_be_written(tmp_path)
    assert can_be_written(tmp_path / "not" / "yet")
    assert not can_be_written(tmp_path / "file")
    assert not can_be_written(tmp_path / "file" / "below")


def test_a_cache_that_cannot_be_made_is_told_and_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("POINTSMAN_CACHE", str(tmp_path / "file" / "cache"))
    cache = by_name(list(directories()))["cache"]
    assert (cache.fine, cache.needed) == (False, False)
    assert "POINTSMAN_CACHE" in cache.remedy
