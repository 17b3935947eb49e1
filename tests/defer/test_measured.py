"""What an allocator's folder says of the nearest price it was measured at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pointsman.backbone.specialist import SPECIALIST_FILE
from pointsman.defer.measured import Measured, measured_near
from pointsman.defer.saved import DESCRIPTION
from pointsman.errors import SpecialistError

AT = [{"price": p, "right": 1 - p, "asked": [1.0, p]} for p in (0.0, 0.1, 0.5)]


@pytest.mark.parametrize("file", [DESCRIPTION, SPECIALIST_FILE])
def test_the_nearest_price(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(json.dumps({"numbers": {"unit": "gflops", "at": AT}}), "utf-8")
    assert measured_near(tmp_path, 0.2) == Measured(0.1, "gflops", 0.9, (1.0, 0.1))
    assert measured_near(tmp_path, 7.0).price == 0.5


def test_one_that_was_made_before_there_were_units(tmp_path: Path) -> None:
    (tmp_path / DESCRIPTION).write_text(json.dumps({"numbers": {"at": AT}}), "utf-8")
    assert measured_near(tmp_path, 0.0).unit == "dollars"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"numbers": {"at": []}}', '{"numbers": {"at": [1]}}']
)
def test_a_folder_that_does_not_say(tmp_path: Path, text: str) -> None:
    (tmp_path / DESCRIPTION).write_text(text, "utf-8")
    with pytest.raises(SpecialistError, match="corrupt"):
        measured_near(tmp_path, 0.1)
