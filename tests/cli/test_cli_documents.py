"""init, index, info: a workspace, and documents in it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import invoke, run, start

from pointsman import Workspace
from pointsman.retrieve.lance import LanceIndex


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# --- init ---


def test_init_makes_a_workspace_and_says_what_is_next(tmp_path: Path) -> None:
    result = invoke("init", tmp_path / "space")
    assert result.exit_code == 0
    assert "pointsman index" in result.stdout
    assert Workspace.open(tmp_path / "space").settings.backbone is None


def test_init_as_json(tmp_path: Path) -> None:
    result = invoke("init", tmp_path / "space", "--json")
    made = {"workspace": str(tmp_path / "space"), "backbone": None}
    assert json.loads(result.stdout) == made
    assert result.stderr == ""


def test_init_twice_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    invoke("init", tmp_path / "space")
    settings = tmp_path / "space" / "pointsman.yaml"
    settings.write_text("price: 2.0\n", "utf-8")
    result = invoke("init", tmp_path / "space")
    assert result.exit_code == 5
    assert "is a workspace already" in result.stderr
    assert settings.read_text("utf-8") == "price: 2.0\n"


def test_init_with_an_encoder_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    result = invoke("init", tmp_path / "space", "--backbone", tmp_path / "none")
    assert result.exit_code == 6
    assert "not a model directory" in result.stderr
    assert files(tmp_path) == []


def test_init_with_an_encoder(tmp_path: Path, tiny_folder: Path) -> None:
    result = invoke("init", tmp_path / "space", "--backbone", tiny_folder)
    assert result.exit_code == 0
    assert Workspace.open(tmp_path / "space").settings.backbone == str(tiny_folder)


# --- index ---


def test_index_makes_the_workspace_and_reports_each_source(
    tmp_path: Path, documents: Path, tiny: Mapping[str, str]
) -> None:
    space = tmp_path / "space"
    first = invoke("index", space, documents, env=tiny)
    assert first.exit_code == 0
    assert f"{space} is new" in "".join(first.stderr.split("\n"))
    line = next(line for line in first.stdout.splitlines() if line.startswith("│"))
    assert [cell.strip() for cell in line.split("│")][2:7] == ["2", "0", "0", "0", "2"]
    assert "skipped picture.txt: binary data" in first.stdout
    assert "skipped blank.txt" in first.stdout
    again = json.loads(invoke("index", space, documents, "--json", env=tiny).stdout)
    assert (again["made"], again["passages"]) == (False, 2)
    [source] = again["sources"]
    counts = ("added", "replaced", "unchanged", "removed")
    assert [source[count] for count in counts] == [0, 0, 2, 0]
    assert len(source["skipped"]) == 2


def test_of_many_skipped_the_first_five_are_shown(tmp_path: Path, tiny: Mapping[str, str]) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.txt").write_text("Alpha is red.", "utf-8")
    for i in range(8):
        (folder / f"empty{i}.txt").touch()
    result = invoke("index", tmp_path / "space", folder, env=tiny)
    assert result.stdout.count("skipped empty") == 5
    assert "… and 3 more of" in result.stdout


def test_a_source_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    result = invoke("index", tmp_path / "space", tmp_path / "docs")
    assert result.exit_code == 3
    assert "there is no such file or directory" in result.stderr
    assert files(tmp_path) == []


def test_a_folder_of_documents_is_not_made_a_workspace_by_mistake(
    tmp_path: Path, documents: Path
) -> None:
    result = invoke("index", documents, documents)
    assert result.exit_code == 5
    assert "is not a workspace" in result.stderr
    assert not (documents / "pointsman.yaml").exists()


def test_a_source_without_documents(tmp_path: Path, tiny: Mapping[str, str]) -> None:
    (tmp_path / "docs").mkdir()
    result = invoke("index", tmp_path / "space", tmp_path / "docs", env=tiny)
    assert result.exit_code == 3
    assert "no document with text" in result.stderr


def test_ids_of_two_sources_are_kept_apart_by_a_prefix(
    tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text(f"Alpha is {name}.", "utf-8")
    space = tmp_path / "space"
    assert invoke("index", space, tmp_path / "one", env=tiny).exit_code == 0
    clash = invoke("index", space, tmp_path / "two", env=tiny)
    assert clash.exit_code == 3
    assert "--prefix" in clash.stderr
    prefixed = invoke("index", space, tmp_path / "two", "--prefix", "two/", "--json", env=tiny)
    assert json.loads(prefixed.stdout)["passages"] == 2


def test_another_encoder_is_refused_by_name(
    tmp_path: Path, space: Path, documents: Path, tiny: Mapping[str, str]
) -> None:
    from tiny import write_tiny

    other = write_tiny(tmp_path / "other", seed=1)
    before = files(space / "index")
    result = invoke("index", space, documents, env={**tiny, "POINTSMAN_BACKBONE": str(other)})
    assert result.exit_code == 6
    assert "tiny" in result.stderr
    assert "other" in result.stderr
    assert files(space / "index") == before


def stored(space: Path) -> int:
    """How many passages another process has committed."""
    if not LanceIndex.exists(space / "index"):
        return 0
    with LanceIndex.open(space / "index", read_only=True) as index:
        return len(index)


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGINT from another process")
def test_ctrl_c_leaves_an_index_that_the_same_command_completes(
    tmp_path: Path, tiny: Mapping[str, str]
) -> None:
    corpus, space = tmp_path / "corpus.jsonl", tmp_path / "space"
    # So many that the signal comes long before the end, also on a fast machine.
    documents = 16_000
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa"
    corpus.write_text(
        "".join(
            json.dumps({"_id": f"d{i}", "text": f"{i} {words}"}) + "\n" for i in range(documents)
        ),
        "utf-8",
    )
    process = start("index", space, corpus, env=tiny)
    while process.poll() is None and stored(space) == 0:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("interrupted; what was indexed until now stays")
    assert "Traceback" not in stderr
    again = json.loads(run("index", space, corpus, "--json", env=tiny).stdout)
    [source] = again["sources"]
    assert again["passages"] == documents
    assert source["unchanged"] > 0
    assert source["added"] + source["unchanged"] == documents


# --- info ---


def test_info_says_where_each_setting_comes_from(
    space: Path, documents: Path, tiny: Mapping[str, str]
) -> None:
    del documents
    settings = (space / "pointsman.yaml").read_text("utf-8")
    found = json.loads(
        invoke("info", space, "--json", env={**tiny, "POINTSMAN_SEARCH__MODE": "bm25"}).stdout
    )
    assert "mode: hybrid" in settings
    assert found["settings"]["search.mode"] == {"value": "bm25", "from": "POINTSMAN_SEARCH__MODE"}
    assert found["settings"]["search.candidates"] == {"value": 20, "from": "pointsman.yaml"}
    assert (found["index"]["passages"], found["index"]["documents"]) == (2, 2)
    assert found["index"]["encoder"]["dimension"] == 32
    assert found["reader"]["numbers"] == {"dev": {"best": 12.5}}
    assert found["grader"] is None
    assert found["selector"] is None


def test_info_names_defaults_and_shows_a_new_workspace(tmp_path: Path) -> None:
    invoke("init", tmp_path / "space")
    (tmp_path / "space" / "pointsman.yaml").write_text("price: 2.0\n", "utf-8")
    found = json.loads(invoke("info", tmp_path / "space", "--json").stdout)
    assert found["settings"]["price"] == {"value": 2.0, "from": "pointsman.yaml"}
    assert found["settings"]["device"] == {"value": "auto", "from": "default"}
    assert found["index"] == {"passages": 0, "note": "nothing is indexed yet"}
    assert not (tmp_path / "space" / "index").exists()


def test_info_names_what_cannot_be_used(tmp_path: Path) -> None:
    invoke("init", tmp_path / "space")
    (tmp_path / "space" / "index" / "passages.lance").mkdir(parents=True)
    wrong = {"POINTSMAN_READ__READER": "nobody", "POINTSMAN_GRADE__GRADER": "noone"}
    result = invoke("info", tmp_path / "space", env=wrong)
    assert result.exit_code == 0
    assert result.stdout.count("problem") == 3
    assert "nobody" in result.stdout
    assert "noone" in result.stdout


def test_info_for_people_fits_80_columns(space: Path, tiny: Mapping[str, str]) -> None:
    result = invoke("info", space, env=tiny)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "dev.best" in result.stdout
