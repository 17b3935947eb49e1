"""What holds for every command: help, speed, exit codes, one line for every failure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import environment, invoke, run, start

from pointsman import __version__
from pointsman.cli.failures import describe
from pointsman.errors import DeadlineError, FormatError, ReadOnlyError

COMMANDS = [
    ["demo"],
    ["init"],
    ["index"],
    ["ask"],
    ["train"],
    ["train", "reader"],
    ["train", "expert"],
    ["train", "grader"],
    ["train", "selector"],
    ["train", "selection"],
    ["train", "allocator"],
    ["agents"],
    ["agents", "list"],
    ["agents", "price"],
    ["agents", "test"],
    ["label"],
    ["label", "pick"],
    ["label", "fill"],
    ["experts"],
    ["experts", "list"],
    ["experts", "add"],
    ["experts", "remove"],
    ["experts", "card"],
    ["evaluate"],
    ["evaluate", "retrieval"],
    ["evaluate", "reading"],
    ["evaluate", "answering"],
    ["evaluate", "grading"],
    ["reproduce"],
    ["reproduce", "routing"],
    ["reproduce", "relevance"],
    ["reproduce", "selection"],
    ["reproduce", "deferral"],
    ["specialists"],
    ["info"],
    ["doctor"],
]


def test_help_is_quick_and_loads_no_heavy_library() -> None:
    program = (
        "import json, sys, time\n"
        "sys.argv[1:] = ['--help']\n"
        "from pointsman.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = ['torch', 'transformers', 'lancedb', 'pyarrow', 'pydantic', 'numpy']\n"
        "print(json.dumps([time.process_time(), [n for n in heavy if n in sys.modules]]))"
    )
    spent = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
        )
        seconds, loaded = json.loads(done.stdout.splitlines()[-1])
        assert loaded == []
        spent.append(seconds)
    assert min(spent) < 0.4


def test_nothing_asked_is_help() -> None:
    alone, helped = invoke(), invoke("--help")
    assert alone.exit_code == 0
    assert alone.stdout == helped.stdout
    for [command, *_] in COMMANDS:
        assert f" {command} " in helped.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples_that_stay_on_their_lines(command: list[str]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert max(map(len, result.stdout.splitlines())) <= 80
    examples = lines[lines.index("Examples:") + 1 :]
    # A line that was broken would go on without the command's name.
    examples = examples[: examples.index("")]
    assert examples
    assert all(line.startswith(f"pointsman {command[0]}") for line in examples)


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"pointsman {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["ask"], "Missing argument"),
        (["ask", "space", "q", "--mdoe", "x"], "--mdoe"),
        (["ask", "space", "q", "--mode", "x"], "'hybrid', 'dense', 'bm25'"),
        (["ask", "space", "q", "--passages", "0"], "--passages"),
        (["ask", "space", "q", "--passages", "many"], "--passages"),
        (["ask", "space", "q", "--min-confidence", "2"], "--min-confidence"),
        (["ask", "space", "q", "--where", "year"], "'year' is not KEY=VALUE"),
        (["ask", "space", "q", "--deadline", "-1"], "above 0 seconds"),
        (["index", "space"], "SOURCE"),
        (["train"], "Missing command"),
        (["train", "reader", "--out", "x"], "--train and --dev"),
        (["train", "reader", "--out", "x", "--train", "a"], "--train and --dev"),
        (["train", "reader", "--out", "x", "--data", "a", "--dev", "b"], "not both"),
        (["evaluate", "reading"], "--data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_usage_is_one_line_and_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert "--help" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_with_json_an_error_is_json_on_standard_error() -> None:
    for arguments, code in ((["ask", "no-such-space", "q"], 5), (["ask"], 2)):
        result = invoke(*arguments, "--json")
        assert result.exit_code == code
        assert result.stdout == ""
        said = json.loads(result.stderr)
        assert said["exit_code"] == code
        assert said["error"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FormatError("a.json", "not JSON", 3), 3, "a.json:3: not JSON"),
        (ReadOnlyError("two\nlines"), 5, "two lines"),
        (DeadlineError("late"), 8, "late"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("stopped; go on"), 130, "stopped; go on"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "x: No such file"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (ModuleNotFoundError("no torch", name="torch"), 7, "torch is not installed"),
        (ModuleNotFoundError("no x", name="pointsman.x"), 1, "a bug in pointsman"),
        (ValueError("bad\nthing"), 1, "this is a bug in pointsman: ValueError: bad thing"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_exception_is_one_line_and_a_code(error: BaseException, code: int, said: str) -> None:
    failure = describe(error)
    assert failure.exit_code == code
    assert said in failure.message
    assert "\n" not in failure.message


def test_a_wrong_setting_in_the_environment(tmp_path: Path) -> None:
    result = invoke("init", tmp_path / "space", env={"POINTSMAN_DEVIEC": "cpu"})
    assert result.exit_code == 4
    assert "did you mean 'device'?" in result.stderr
    assert not (tmp_path / "space").exists()


def test_debug_shows_the_traceback_and_is_no_setting(tmp_path: Path) -> None:
    plain = run("ask", tmp_path / "none", "q")
    shown = run("ask", tmp_path / "none", "q", env={"POINTSMAN_DEBUG": "1"})
    assert plain.returncode == shown.returncode == 5
    assert "Traceback" not in plain.stderr
    assert "Traceback" in shown.stderr
    assert shown.stderr.endswith(plain.stderr)


def test_a_pipe_that_nobody_reads_is_quiet(space: Path, tiny: Mapping[str, str]) -> None:
    for extra in ([], ["--json"]):
        process = start("info", space, *extra, env=tiny)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert not [word for word in ("rror", "pipe", "Traceback") if word in said]
        assert process.wait() == 141


def test_no_colour_where_nobody_looks(tmp_path: Path) -> None:
    done = run("init", tmp_path / "space", env={"NO_COLOR": "", "TERM": "xterm-256color"})
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
