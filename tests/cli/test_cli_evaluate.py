"""evaluate: the experiments through the command, on small data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import invoke, run

from pointsman.data.squad import write_squad
from pointsman.sample import sample_directory
from pointsman.types import ReadingExample


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    """Six questions over three paragraphs."""
    examples = []
    for i, (letter, colour) in enumerate([("alpha", "red"), ("beta", "blue"), ("gamma", "gold")]):
        context = f"the colour of {letter} is {colour}."
        for question in (f"what is the colour of {letter}", f"{letter} is what colour"):
            examples.append(
                ReadingExample(
                    id=f"{i}-{len(examples)}",
                    question=question,
                    context=context,
                    answers=(colour,),
                    starts=(context.index(colour),),
                    title=letter,
                    cluster=letter,
                )
            )
    path = tmp_path / "squad.json"
    write_squad(path, examples)
    return path


def test_retrieval_is_the_same_with_the_same_seed(tiny: Mapping[str, str]) -> None:
    command = ["evaluate", "retrieval", "--data", sample_directory(), "--limit", "9"]
    first, second, other = (
        json.loads(invoke(*command, "--seed", seed, "--json", env=tiny).stdout)
        for seed in (1, 1, 2)
    )
    assert first["tables"] == second["tables"] != other["tables"]
    [row] = first["tables"][0]["rows"]
    assert row[:3] == ["sample", 135, 9]


def test_one_mode_alone(tiny: Mapping[str, str]) -> None:
    command = ["evaluate", "retrieval", "--data", sample_directory(), "--mode", "bm25"]
    tables = json.loads(invoke(*command, "--json", env=tiny).stdout)["tables"]
    assert tables[0]["columns"] == ["set", "documents", "queries", "bm25"]


def test_reading_writes_result_files_without_anybodys_paths(
    squad: Path, tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    stem = tmp_path / "results" / "reading"
    done = run("evaluate", "reading", "--data", squad, "--out", stem, "--json", env=tiny)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["files"] == [f"{stem}.json", f"{stem}.md"]
    written = (tmp_path / "results" / "reading.md").read_text("utf-8")
    said = "pointsman evaluate reading --data DATA/squad.json --out DATA/results/reading --json"
    assert said in written
    assert str(tmp_path) not in written + (tmp_path / "results" / "reading.json").read_text("utf-8")
    assert shown["tables"] == json.loads(Path(f"{stem}.json").read_text("utf-8"))["tables"]


def test_answering_for_people(squad: Path, tiny: Mapping[str, str]) -> None:
    command = ["evaluate", "answering", "--data", squad, "--mode", "dense", "--passages", "2"]
    result = invoke(*command, "--limit", "4", env=tiny)
    assert result.exit_code == 0, result.stderr
    assert "Answering from 3 paragraphs, test: 4 questions" in result.stdout
    assert "dense, 2 read" in " ".join(result.stdout.split())


@pytest.mark.parametrize("experiment", ["retrieval", "reading", "answering"])
def test_data_that_is_not_there(experiment: str, tmp_path: Path) -> None:
    result = invoke("evaluate", experiment, "--data", tmp_path / "none")
    assert result.exit_code == 3
    assert "there is no such file or directory" in result.stderr


@pytest.mark.parametrize("experiment", ["retrieval", "reading", "answering"])
def test_data_of_another_kind(experiment: str, tmp_path: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("evaluate", experiment, "--data", tmp_path, env=tiny)
    assert result.exit_code == 3
    assert "neither a" in result.stderr


def test_a_reader_of_another_name(squad: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("evaluate", "reading", "--data", squad, "--reader", "nobody", env=tiny)
    assert result.exit_code == 6
    assert "'nobody'" in result.stderr
