from __future__ import annotations

import getpass
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import pointsman
from pointsman.errors import ConfigError, InputError, ReadOnlyError
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.significance import Interval
from pointsman.evaluate.tables import Column, Table

TABLE = Table("Reading", ["set", Column("F1", scale=100)], [["test", 0.744], ["dev", math.nan]])


def collect(*command: str) -> Provenance:
    return Provenance.collect(command or ("pointsman", "evaluate"), 0, time.time() - 2)


def test_provenance_says_what_is_needed_to_run_it_again() -> None:
    provenance = collect("pointsman", "evaluate", "--seed", "0")
    assert provenance.command == ("pointsman", "evaluate", "--seed", "0")
    assert 2 <= provenance.seconds < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", provenance.date)
    assert provenance.versions["python"] == platform.python_version()
    assert {"torch", "transformers", "lancedb", "numpy"} <= set(provenance.versions)
    assert provenance.machine.cores >= 1
    assert provenance.machine.processor


def test_versions_are_read_without_importing() -> None:
    script = (
        "import sys, time\n"
        "from pointsman.evaluate.results import Provenance\n"
        "Provenance.collect(['x'], None, time.time() - 1)\n"
        "print([m for m in ('torch', 'transformers', 'lancedb', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_commit_is_the_packages_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(Path(pointsman.__file__).parent)]
    tracked = subprocess.run([*git, "ls-files", "--error-unmatch", "errors.py"], check=False)
    if tracked.returncode != 0:
        pytest.skip("not run from a checkout")
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    expected = head.stdout.strip()
    # Neither the directory that one stands in nor a hook's variables change that.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert collect().commit == expected


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    provenance = collect()
    assert (provenance.commit, provenance.dirty) == (None, None)
    assert "commit: none: not run from a checkout" in provenance.to_markdown()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/home/ann/.venv/bin/pointsman", "ask"], ["pointsman", "ask"]),
        (["x", "--data", "/home/ann/bed/"], ["x", "--data", "DATA/"]),
        (
            ["x", "/home/ann/bed/beir/nq", "--data=/home/ann/bed"],
            ["x", "DATA/beir/nq", "--data=DATA"],
        ),
        (["x", "--data", "../bed", "../bedside"], ["x", "--data", "DATA", "../bedside"]),
        (["x", "--data", "/home/ann/bed", "/home/ann/bedside"], ["x", "--data", "DATA", "bedside"]),
        (["x", "--data", "/home/ann/bed/a.json"], ["x", "--data", "DATA/a.json"]),
        (["x", "--data=../bed/a.tsv", "../bed/b.tsv"], ["x", "--data=DATA/a.tsv", "DATA/b.tsv"]),
        (["x", "--data", "a.jsonl"], None),
        (["x", "--out=/home/ann/My Files/r"], ["x", "--out=r"]),
        (["x", "~/r", "~ann/r", "file:///home/ann/r"], ["x", "r", "r", "r"]),
        (["x", r"C:\Users\ann\r", "C:/Users/ann/r", r"--o=D:\r"], ["x", "r", "r", "--o=r"]),
        (["x", "/home/ann/a,/home/ann/b"], ["x", "a,b"]),
        (["x", "results/r", "and/or", "s3://bucket/key", "http://host:1/v1"], None),
        (["x", "--data"], None),
    ],
)
def test_no_absolute_path_is_published(command: list[str], expected: list[str] | None) -> None:
    assert list(collect(*command).command) == (expected or command)


def test_nothing_names_the_machine_or_its_user(tmp_path: Path) -> None:
    provenance = collect(str(tmp_path / "bin" / "pointsman"), "--data", str(tmp_path / "bed"))
    details = {"where": tmp_path / "bed", "log": str(tmp_path / "run.log")}
    written = "".join(
        path.read_text("utf-8")
        for path in write_result(tmp_path / "r", [TABLE], provenance, details)
    )
    assert str(tmp_path) not in written
    assert os.path.expanduser("~") + "/" not in written
    words = set(re.findall(r"[\w.-]+", json.dumps(asdict(provenance))))
    assert platform.node() not in words
    if getpass.getuser() not in {"root", "user"}:
        assert getpass.getuser() not in words


def test_started_on_another_clock() -> None:
    for started in [time.perf_counter(), time.monotonic(), time.time() + 1000]:
        with pytest.raises(ConfigError, match=r"started must be time.time\(\)"):
            Provenance.collect(["x"], 0, started)


def test_both_files_are_written(tmp_path: Path) -> None:
    details = {
        "curve": np.array([0.5, math.nan]),
        "n": np.int64(3),
        "interval": Interval(1.0, 0.5, 1.5, 3),
        "nested": {"question": "either/or, /r/all"},
        "lone": "\ud800",
    }
    paths = write_result(tmp_path / "new" / "scifact.v1", [TABLE, TABLE], collect(), details)
    assert [path.name for path in paths] == ["scifact.v1.json", "scifact.v1.md"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(p.name for p in paths)
    data = json.loads(paths[0].read_text("utf-8"))
    assert data["tables"][0]["rows"] == [["test", 74.4], ["dev", None]]
    assert data["details"] == {
        "curve": [0.5, None],
        "n": 3,
        "interval": {"mean": 1.0, "low": 0.5, "high": 1.5, "n": 3, "clusters": None},
        "nested": {"question": "either/or, /r/all"},
        "lone": "\ud800",
    }
    assert data["provenance"]["seed"] == 0
    assert data["provenance"]["machine"]["cores"] >= 1
    text = paths[1].read_text("utf-8")
    assert text.count("## Reading") == 2
    assert "```sh\npointsman evaluate\n```" in text


def test_a_failure_leaves_the_old_files(tmp_path: Path) -> None:
    paths = write_result(tmp_path / "r", [TABLE], collect())
    before = [path.read_bytes() for path in paths]
    with pytest.raises(InputError, match=r"model\.head\[1\] is a object"):
        write_result(tmp_path / "r", [TABLE], collect(), {"model": {"head": [1, object()]}})
    blocked = tmp_path / f".r.md.{os.getpid()}.tmp"
    blocked.mkdir()
    with pytest.raises(ReadOnlyError, match=r"cannot write the result .*/r: Is a directory"):
        write_result(tmp_path / "r", [TABLE], collect(), {"other": 1})
    blocked.rmdir()
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ReadOnlyError, match="name a place that can be written"):
        write_result(tmp_path / "file" / "r", [TABLE], collect())
    assert (tmp_path / "file").read_text() == "kept"
