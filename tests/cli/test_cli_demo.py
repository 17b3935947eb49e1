"""demo: on the encoder that ships, with a reader that has learned nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import invoke, run, write_reader

from pointsman import Workspace
from pointsman.cli.demo import Asked, _lines
from pointsman.sample import SampleQuestion
from pointsman.types import Answer, Passage


def test_demo_with_the_shipped_encoder(tmp_path: Path) -> None:
    reader = write_reader(tmp_path / "untrained")
    done = run(
        "demo",
        "--json",
        env={"POINTSMAN_READ__READER": str(reader), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["asked"], shown["passages"], shown["workspace"]) == (12, 135, None)
    assert shown["right"] == sum(each["right"] for each in shown["questions"])
    assert sum(not each["expected"] for each in shown["questions"]) == 1
    # The temporary workspace is gone.
    assert [path.name for path in tmp_path.iterdir()] == ["untrained"]


def test_demo_for_people(tmp_path: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("demo", "--keep", tmp_path / "kept", env=tiny)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    # A path is as long as it is.
    assert not [line for line in lines if len(line) > 80 and str(tmp_path) not in line]
    assert sum(line.strip().startswith("route base → retrieve") for line in lines) == 12
    assert sum(line.strip()[:1] in "✓✗" for line in lines if line.startswith("    ")) == 12
    assert any(" of 12 right, in " in line for line in lines)
    assert [line.split()[1] for line in lines[-3:]] == ["index", "ask", "info"]
    with Workspace.open(tmp_path / "kept") as space:
        # A workspace of the environment's encoder is opened with it again.
        assert space.index_uri
    again = invoke("demo", "--keep", tmp_path / "kept", env=tiny)
    assert again.exit_code == 5
    assert "is a workspace already" in again.stderr


def test_without_a_reader_nothing_is_left(
    tmp_path: Path, tiny: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = invoke("demo", env={**tiny, "POINTSMAN_READ__READER": "nobody"})
    assert result.exit_code == 6
    assert "nobody" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_shows_the_expected_ones() -> None:
    question = SampleQuestion("q", "What?", ("red", "the red"), "p")
    answer = Answer("What?", "is", 0.9, Passage(id="p", text="It is red."), 3, 5)
    lines = [line.plain for line in _lines(Asked(question, answer, False), marks=True)]
    assert lines == ["✗ is  90%", "expected: red or the red", "It ▸is◂ red.", "p"]


def test_silence_is_right_where_there_is_no_answer() -> None:
    question = SampleQuestion("q", "What?", (), None)
    answer = Answer("What?", "", 0.01, abstained=True)
    [line] = _lines(Asked(question, answer, True), marks=True)
    assert line.plain.startswith("✓ no answer")
