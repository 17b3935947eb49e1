"""What the processes of a parallel run execute: `torchrun --nproc-per-node 2 parallel_run.py`.

    parallel_run.py slow FOLDER     a run with dropout, slow enough to be interrupted
    parallel_run.py stuck FOLDER    the same run; its next evaluation takes for ever
    parallel_run.py all FOLDER      that run to its end, every other one, and one that fails

Each process saves what it saw as FOLDER/seen-NAME-RANK.pt.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pointsman.errors import PointsmanError
from pointsman.training.distributed import is_main_process
from pointsman.training.loop import Plan, Progress, train

PLAN = Plan(measure="closeness", epochs=3, learning_rate=0.05, evaluations=2, patience=50)
PER_EPOCH = 7
SPECIAL = 3  # the batch of an epoch that alone uses the parameter `rare`


class Net:
    """A small network that learns a fixed one; 7 batches an epoch leave a remainder for 2 processes."""

    def __init__(
        self,
        dropout: float = 0.0,
        seed: int = 0,
        seconds: float = 0.0,
        stuck: Path | None = None,
        mark: str = "",
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.dropout, self.seconds, self.stuck, self.mark = dropout, seconds, stuck, mark
        self.weights = {
            "first": nn.Parameter(torch.randn(4, 5, generator=generator)),
            "second": nn.Parameter(torch.randn(5, generator=generator)),
            "rare": nn.Parameter(torch.ones(2)),
            "never": nn.Parameter(torch.ones(3)),
        }
        self.losses = self.evaluations = 0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def parameters(self) -> dict[str, nn.Parameter]:
        return self.weights

    def fingerprint(self) -> str:
        return self.mark

    def batches(self, epoch: int) -> list[tuple[int, Tensor]]:
        generator = torch.Generator().manual_seed(100 + epoch)
        return [(i, torch.randn(8, 4, generator=generator)) for i in range(PER_EPOCH)]

    def loss(self, batch: tuple[int, Tensor]) -> Tensor:
        time.sleep(self.seconds)
        self.losses += 1
        number, x = batch
        hidden = nn.functional.dropout(torch.tanh(x @ self.weights["first"]), self.dropout)
        loss = ((hidden @ self.weights["second"] - x.sum(-1)) ** 2).mean()
        return loss + self.weights["rare"].square().sum() if number == SPECIAL else loss

    def evaluate(self) -> Mapping[str, float]:
        self.evaluations += 1
        if self.stuck is not None:
            self.stuck.touch()
            time.sleep(600)
        return {"closeness": -float(self.weights["first"].detach().norm())}


class Worsening(Net):
    """Each evaluation is worse than the one before."""

    def evaluate(self) -> Mapping[str, float]:
        self.evaluations += 1
        return {"closeness": -float(self.evaluations)}


class Failing(Net):
    """An evaluation that goes wrong."""

    def evaluate(self) -> Mapping[str, float]:
        raise PointsmanError("the dev data is gone")


class Dying(Net):
    """The second process comes to a bad end at its fourth loss."""

    def loss(self, batch: tuple[int, Tensor]) -> Tensor:
        if self.losses == 3 and not is_main_process():
            raise ValueError("out of luck")
        return super().loss(batch)


def run(name: str, task: Net, plan: Plan, root: Path) -> None:
    """Train, and save what this process saw of it."""
    shown: list[Progress] = []
    seen: dict[str, object] = {}
    try:
        outcome = train(task, plan, root / name, shown.append)
        seen = {
            "best": dict(outcome.parameters),
            "history": [dict(each) for each in outcome.history],
            "steps": outcome.steps,
            "stopped_early": outcome.stopped_early,
        }
    except PointsmanError as error:
        seen = {"error": f"{type(error).__name__}: {error}"}
    seen |= {
        "weights": {k: v.detach() for k, v in task.weights.items()},
        "losses": task.losses,
        "evaluations": task.evaluations,
        "shown": [(p.step, p.steps, p.remaining) for p in shown],
    }
    torch.save(seen, root / f"seen-{name}-{os.environ.get('RANK', 0)}.pt")


def main(what: str, root: Path) -> None:
    rank = int(os.environ.get("RANK", 0))
    if what == "slow":
        run("halved", Net(0.3, seconds=0.1), PLAN, root)
    elif what == "stuck":
        run("halved", Net(0.3, stuck=root / "evaluating"), PLAN, root)
    elif what == "all":
        run("halved", Net(0.3), PLAN, root)
        run("dropout", Net(0.3), PLAN, root)
        # Only the main process's first weights count.
        run("plain", Net(seed=rank), PLAN, root)
        run("grouped", Net(), replace(PLAN, accumulation=2), root)
        run("early", Worsening(), replace(PLAN, patience=2), root)
        run("unknown", Net(), replace(PLAN, measure="f1"), root)
        run("other-data", Net(mark=f"process {rank}"), PLAN, root)
        run("alone", Net(), PLAN, root)
        run("failing", Failing(), PLAN, root)
        run("dying", Dying(), replace(PLAN, checkpoint_seconds=0), root)
    else:
        raise ValueError(what)


if __name__ == "__main__":
    # SIGINT may have been ignored by whoever started the tests, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(sys.argv[1], Path(sys.argv[2]))
