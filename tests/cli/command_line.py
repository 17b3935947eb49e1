"""Running the command: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

# SIGINT may have been ignored by whoever started the tests, and children inherit that.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from pointsman.cli import main; main()"
)


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("POINTSMAN_")}
    plain = {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    return kept | plain | more


def invoke(
    *arguments: object, env: Mapping[str, str] | None = None, stdin: str | None = None
) -> Result:
    """The command in this process; its environment holds no other settings of Pointsman's."""
    from pointsman.cli.app import app

    theirs = {name: None for name in os.environ if name.startswith("POINTSMAN_")}
    plain = {"COLUMNS": "80", "NO_COLOR": "1"}
    return CliRunner().invoke(
        app, [str(each) for each in arguments], env=theirs | plain | dict(env or {}), input=stdin
    )


def run(
    *arguments: object,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as `python -m pointsman`."""
    return subprocess.run(
        [sys.executable, "-m", "pointsman", *(str(each) for each in arguments)],
        input=stdin or "",
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=200,
        cwd=cwd,
        env=environment(**(env or {})),
    )


def start(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The command in a process of its own that can be interrupted."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *(str(each) for each in arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(**(env or {})),
    )


def train(words: Sequence[str], cache: Path, *more: str) -> dict[str, Any]:
    """What a command that trains says in JSON."""
    result = invoke(*words, *more, "--json", env={"POINTSMAN_CACHE": str(cache)})
    assert result.exit_code == 0, result.stderr
    trained = json.loads(result.stdout)
    assert isinstance(trained, dict)
    return trained


def refused(words: Sequence[str], cache: Path, *more: str, code: int) -> str:
    """The one line that a command says where it refuses."""
    result = invoke(*words, *more, env={"POINTSMAN_CACHE": str(cache)})
    assert result.exit_code == code, result.stderr
    assert result.stderr.count("\n") == 1
    return result.stderr


def check_others_folder_is_kept(words: Sequence[str], folder: Path) -> None:
    """A specialist does not take the place of what is none."""
    folder.mkdir(parents=True)
    (folder / "diary.txt").write_text("mine", "utf-8")
    result = invoke(*words)
    assert result.exit_code == 6
    assert "is not a specialist, so it is not replaced" in result.stderr
    assert (folder / "diary.txt").read_text("utf-8") == "mine"


def check_ctrl_c_keeps_a_checkpoint(
    words: Sequence[str], run: Path, cache: Path, within: str = ""
) -> None:
    """Interrupt training in the folder `run`, or `within` it, which then belongs to that plan."""
    env = {"POINTSMAN_CACHE": str(cache)}
    process = start(*words, "--run", run, env=env)
    while process.poll() is None and not any((run / within).rglob("checkpoint-*/state.pt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1].startswith(f"interrupted; a checkpoint is in {run}")
    assert stderr.splitlines()[-1].endswith("and the same command goes on from there")
    assert "Traceback" not in stderr
    # Another plan wants another folder, or --fresh.
    other = invoke(*words, "--run", run, "--epochs", "1", env=env)
    assert other.exit_code == 4
    assert "another epochs" in other.stderr


def write_reader(folder: Path, backbone_name: Path | None = None) -> Path:
    """A reader specialist with random weights on a backbone."""
    import torch

    from pointsman.backbone.encoder import Backbone
    from pointsman.backbone.lora import new_adapter
    from pointsman.backbone.specialist import Specialist, save_specialist
    from pointsman.read.head import SpanHead
    from pointsman.read.reader import KIND, ReaderSettings

    backbone = Backbone.load(backbone_name, device="cpu")
    generator = torch.Generator().manual_seed(0)
    specialist = Specialist(
        kind=KIND,
        name=folder.name,
        base_sha256=backbone.identity.sha256,
        base_name=backbone.identity.name,
        adapter=new_adapter(backbone.model, 2, 4.0, generator),
        head=SpanHead.fresh(backbone.shape.width, generator).tensors,
        settings=ReaderSettings().record(),
        numbers={"dev": {"best": 12.5}},
    )
    save_specialist(specialist, folder)
    return folder
