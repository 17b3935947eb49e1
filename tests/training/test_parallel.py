"""Two real processes under torchrun, on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parallel_run import PER_EPOCH, PLAN, Net

from pointsman.errors import ConfigError
from pointsman.training.checkpoint import Checkpoint, checkpoints, latest_checkpoint
from pointsman.training.distributed import is_main_process
from pointsman.training.loop import train

# A process that waits for one that is gone would wait for ever.
pytestmark = [
    pytest.mark.timeout(280),
    pytest.mark.skipif(os.name == "nt", reason="torchrun's signals are those of POSIX"),
]

SCRIPT = Path(__file__).with_name("parallel_run.py")
HALVED = "halved"


@contextmanager
def torchrun(what: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SCRIPT), what, str(root)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # torchrun takes its workers along
        process.communicate(timeout=60)


def interrupted(what: str, root: Path, ready: Callable[[], bool]) -> Checkpoint:
    """The checkpoint of a run that was sent Ctrl-C's signal once it was `ready`."""
    with torchrun(what, root) as process:
        while process.poll() is None and not ready():
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[0]
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert "KeyboardInterrupt" in output
    # One whole checkpoint, and nothing half written.
    (checkpoint,) = checkpoints(root / HALVED)
    names = {path.name for path in (root / HALVED).iterdir() if "tfevents" not in path.name}
    assert names == {checkpoint.name, "log.jsonl"}
    state = latest_checkpoint(root / HALVED)
    assert state is not None
    return state


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@dataclass(frozen=True)
class Runs:
    """What became of the scenarios in `parallel_run.py`."""

    root: Path
    in_step: Checkpoint
    in_evaluation: Checkpoint
    code: int
    output: str

    def seen(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the main process and the other saw of a run."""
        one, other = (torch.load(self.root / f"seen-{name}-{rank}.pt") for rank in range(2))
        return one, other


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("parallel")
    train(Net(), PLAN, root / "alone")
    in_step = interrupted(
        "slow",
        root,
        lambda: (root / HALVED / "log.jsonl").is_file() and len(log(root / HALVED)) >= 2,
    )
    in_evaluation = interrupted("stuck", root, (root / "evaluating").exists)
    with torchrun("all", root) as process:
        output, _ = process.communicate(timeout=120)
        return Runs(root, in_step, in_evaluation, process.returncode, output)


def close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-6) for name in one)


@pytest.mark.parametrize(("name", "accumulation"), [("plain", 2), ("grouped", 4)])
def test_two_processes_equal_one_that_accumulates(
    tmp_path: Path, runs: Runs, name: str, accumulation: int
) -> None:
    task = Net()
    alone = train(task, replace(PLAN, accumulation=accumulation), tmp_path)
    main, other = runs.seen(name)
    assert main["steps"] == alone.steps
    assert close(main["weights"], task.weights)
    assert not close(main["weights"], Net().weights)
    assert close(main["best"], dict(alone.parameters))
    for ours, theirs in zip(main["history"], alone.history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    # Weight decay would move a weight without a gradient.
    assert torch.equal(main["weights"]["never"], Net().weights["never"])
    assert not torch.equal(main["weights"]["rare"], Net().weights["rare"])
    # Not only close: a bit of difference would grow.
    for key in ("weights", "best"):
        assert all(torch.equal(main[key][name], other[key][name]) for name in main[key])
    assert main["history"] == other["history"]


def test_each_batch_is_computed_once_and_the_main_process_does_the_rest(runs: Runs) -> None:
    main, other = runs.seen("plain")
    # 7 batches an epoch: 4 and 3, the last step with one process's batch alone.
    assert (main["losses"], other["losses"]) == (12, 9)
    assert main["losses"] + other["losses"] == 3 * PER_EPOCH
    assert (main["evaluations"], other["evaluations"]) == (6, 0)
    assert [(step, steps) for step, steps, _ in main["shown"]] == [(i, 12) for i in range(1, 13)]
    assert main["shown"][-1][2] == 0
    assert main["shown"][0][2] > 0
    assert other["shown"] == []


def test_one_set_of_files(runs: Runs) -> None:
    folder = runs.root / "plain"
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert names == {"checkpoint-00000012", "log.jsonl"}
    assert [entry["step"] for entry in log(folder)] == list(range(1, 13))


def test_the_logged_loss_is_the_mean_over_all_processes(tmp_path: Path, runs: Runs) -> None:
    train(Net(), replace(PLAN, accumulation=2), tmp_path)
    ours = [entry["loss"] for entry in log(runs.root / "plain")]
    assert ours == pytest.approx([entry["loss"] for entry in log(tmp_path)], abs=1e-5)


def test_all_stop_early_together(runs: Runs) -> None:
    main, other = runs.seen("early")
    assert main["stopped_early"]
    assert other["stopped_early"]
    assert main["steps"] == other["steps"] == 6


def test_ctrl_c_twice_and_resuming_end_at_the_same_bits(runs: Runs) -> None:
    assert 2 <= runs.in_step.step < 12
    assert runs.in_step.processes == 2
    # Each process draws its own dropout, and goes on drawing where it stopped.
    assert not torch.equal(runs.in_step.generator_of(0), runs.in_step.generator_of(1))
    assert runs.in_evaluation.step > runs.in_evaluation.evaluated_step
    for resumed, whole in zip(runs.seen(HALVED), runs.seen("dropout"), strict=True):
        assert resumed["history"] == whole["history"]
        assert resumed["steps"] == whole["steps"]
        for key in ("weights", "best"):
            assert all(torch.equal(resumed[key][n], whole[key][n]) for n in whole[key])
    resumed_log, whole_log = log(runs.root / HALVED), log(runs.root / "dropout")
    for key in ("step", "loss", "learning_rate", "measures"):
        assert [e.get(key) for e in resumed_log] == [e.get(key) for e in whole_log]


def test_errors_reach_all(runs: Runs) -> None:
    for seen in runs.seen("unknown"):
        assert "no measure 'f1'" in seen["error"]
    for seen in runs.seen("other-data"):
        assert "the 2 processes of this run see other data" in seen["error"]
    for seen in runs.seen("alone"):
        assert "alone holds a run of 1 process(es), not of 2; go on with 1" in seen["error"]
    main, other = runs.seen("failing")
    assert main["error"] == "PointsmanError: the dev data is gone"
    assert other["error"].endswith("main process stopped: PointsmanError: the dev data is gone")


def test_a_process_that_dies_ends_the_run_and_the_checkpoint_stays(runs: Runs) -> None:
    assert runs.code != 0
    assert "ValueError: out of luck" in runs.output
    state = latest_checkpoint(runs.root / "dying")
    assert state is not None
    assert state.step == 4  # its fourth loss is in step 5: the epoch's last step had none for it


def test_one_process_does_not_go_on_from_two(runs: Runs) -> None:
    folder = runs.root / "plain"
    before = (checkpoints(folder)[0] / "state.pt").read_bytes()
    with pytest.raises(ConfigError, match=r"plain holds a run of 2 process\(es\), not of 1;"):
        train(Net(), PLAN, folder)
    assert (checkpoints(folder)[0] / "state.pt").read_bytes() == before


def test_a_process_alone_is_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_main_process()
    for name, value in [("RANK", "1"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")]:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert is_main_process()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_main_process()
