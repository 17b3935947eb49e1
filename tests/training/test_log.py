"""The log of a run: every step once, whatever interrupts it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_loop import PLAN, Regression, Scripted, interrupt_at

from pointsman.errors import ReadOnlyError
from pointsman.training.checkpoint import checkpoints
from pointsman.training.log import Entry, RunLog
from pointsman.training.loop import train

STEPS = list(range(1, 19))


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    """What does not depend on the clock."""
    return [
        {k: v for k, v in entry.items() if k not in ("seconds", "batches_per_second")}
        for entry in entries(folder)
    ]


def test_every_step_is_logged(tmp_path: Path) -> None:
    outcome = train(Regression(), replace(PLAN, warmup=0.2), tmp_path)
    logged = entries(tmp_path)
    assert [entry["step"] for entry in logged] == STEPS
    # 18 steps, 4 of them warm-up; the rate falls to 0 after the last.
    rates = [entry["learning_rate"] for entry in logged]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert rates[-1] == pytest.approx(0.1 / 14)
    assert [
        {"step": entry["step"], **entry["measures"]} for entry in logged if "measures" in entry
    ] == list(outcome.history)
    seconds = [entry["seconds"] for entry in logged]
    assert seconds == sorted(seconds)
    assert all(entry["batches_per_second"] > 0 for entry in logged)
    assert logged[0]["loss"] > logged[-1]["loss"] > 0


@pytest.mark.parametrize("step", [0, 1, 3, 4])
def test_resuming_appends(tmp_path: Path, step: int) -> None:
    train(Regression(), PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(step)), PLAN, tmp_path / "run")
    train(Regression(), PLAN, tmp_path / "run")
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")


@pytest.mark.parametrize(
    "left",
    [
        b'{"step": 5, "loss": 7.0}\n{"step": 6, "loss": 7.0}\n',
        b'{"step": 5, "loss": 7.0}\n{"step": 6, "lo',
        b'{"step": 5, "loss": 7.0}',
        b'{"step": 4',
        b"\xff\x00\n[]\n{}\nnull\n",
    ],
)
def test_a_crash_leaves_no_step_twice(tmp_path: Path, left: bytes) -> None:
    train(Regression(), PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(4)), PLAN, tmp_path / "run")
    with (tmp_path / "run" / "log.jsonl").open("ab") as file:
        file.write(left)
    train(Regression(), PLAN, tmp_path / "run")
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")


def test_an_interrupted_evaluation_is_logged_when_it_is_made_up_for(tmp_path: Path) -> None:
    script: list[float | type[BaseException]] = [1.0, 3.0, 2.0, 2.5, 0.0, 4.0]
    train(Scripted(script), PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Scripted([1.0, KeyboardInterrupt]), PLAN, tmp_path / "run")
    assert [entry["step"] for entry in entries(tmp_path / "run")] == [1, 2, 3, 4, 5]
    train(Scripted(script[1:]), PLAN, tmp_path / "run")
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")
    assert entries(tmp_path / "run")[5]["batches_per_second"] is None


def test_a_finished_run_adds_nothing_and_a_fresh_one_begins_anew(tmp_path: Path) -> None:
    train(Regression(), PLAN, tmp_path)
    before = (tmp_path / "log.jsonl").read_bytes()
    train(Regression(), PLAN, tmp_path)
    assert (tmp_path / "log.jsonl").read_bytes() == before
    (checkpoint,) = checkpoints(tmp_path)
    checkpoint.rename(tmp_path / "elsewhere")
    train(Regression(), PLAN, tmp_path)
    assert [entry["step"] for entry in entries(tmp_path)] == STEPS


def test_the_rate_counts_accumulated_batches(tmp_path: Path) -> None:
    slow = 0.02

    class Slow(Regression):
        def loss(self, batch: Any) -> Any:
            import time

            time.sleep(slow)
            return super().loss(batch)

    train(Slow(), replace(PLAN, accumulation=6, epochs=1), tmp_path)
    (entry,) = entries(tmp_path)
    assert 6 / entry["seconds"] - 1 < entry["batches_per_second"] <= 1 / slow


def test_what_is_no_number_is_null() -> None:
    entry = Entry(3, 1.23456, float("nan"), 0.1, float("inf"), {"f1": float("nan"), "em": 2.0})
    assert json.loads(entry.as_json()) == {
        "step": 3,
        "seconds": 1.235,
        "loss": None,
        "learning_rate": 0.1,
        "batches_per_second": None,
        "measures": {"f1": None, "em": 2.0},
    }


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Regression(interrupt_at(4)), PLAN, tmp_path)
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").mkdir()
    before = (checkpoints(tmp_path)[0] / "state.pt").read_bytes()
    with pytest.raises(ReadOnlyError, match="the log cannot be written") as caught:
        train(Regression(), PLAN, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert (checkpoints(tmp_path)[0] / "state.pt").read_bytes() == before


def test_without_tensorboard_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    train(Regression(), PLAN, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000018", "log.jsonl"]
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_tensorboard_shows_every_step_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, 0)
    for step in range(1, 6):
        log.write(Entry(step, 1.0, 10.0 + step, 0.1, 2.0, {"f1": 50.0} if step == 4 else {}))
    log.close()
    again = RunLog(tmp_path, 3)  # after a crash, from the checkpoint of step 3
    for step in range(4, 7):
        again.write(Entry(step, 1.0, 20.0 + step, 0.1, None, {"f1": 60.0} if step == 4 else {}))
    again.close()
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("train/loss")] == [
        (1, 11.0),
        (2, 12.0),
        (3, 13.0),
        (4, 24.0),
        (5, 25.0),
        (6, 26.0),
    ]
    assert [(e.step, e.value) for e in board.Scalars("dev/f1")] == [(4, 60.0)]
    assert len(board.Scalars("train/learning_rate")) == 6
    assert len(board.Scalars("train/batches_per_second")) == 3
