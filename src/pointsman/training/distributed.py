"""Data parallel: the processes that torchrun started act as one, by averaging their gradients.

`torchrun --nproc-per-node N` runs the same command N times; one of them, the main process, writes
files. What they exchange beside gradients (measures, checkpoints) goes over the CPU (gloo), so that
one may wait for hours for another's evaluation.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from pointsman.errors import ConfigError, PointsmanError

T = TypeVar("T")

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LONGEST_EVALUATION = timedelta(days=1)


def is_main_process() -> bool:
    """Whether this process should write and print: false in all but one of torchrun's processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return not _launched() or os.environ["RANK"] == "0"


def several_processes() -> bool:
    """Whether torchrun started this process as one of several."""
    return _launched() and int(os.environ["WORLD_SIZE"]) > 1


@dataclass(frozen=True)
class Processes:
    """The processes of a run: how many, which one this is, and what they do together.

    Every method is called by all of them at the same place of the run. `control` carries objects.
    """

    rank: int = 0
    count: int = 1
    control: Any = None

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and shows."""
        return self.rank == 0

    def share(self, group: Sequence[T]) -> Sequence[T]:
        """This process's batches of a step: every count-th, from its own rank on; perhaps none."""
        return group[self.rank :: self.count]

    def from_main(self, work: Callable[[], T]) -> T:
        """What `work` gives in the main process, in all; what stops it there stops all of them."""
        if self.count == 1:
            return work()
        said: list[Any] = [None]
        if not self.main:
            with _peers():
                dist.broadcast_object_list(said, src=0, group=self.control)
            result, stopped = said[0]
            if stopped == KeyboardInterrupt.__name__:
                raise KeyboardInterrupt
            if stopped:
                raise PointsmanError(f"the main process stopped: {stopped}")
            return result  # type: ignore[no-any-return]
        try:
            mine = work()
        except KeyboardInterrupt:
            self._say((None, KeyboardInterrupt.__name__))
            raise
        except Exception as error:
            self._say((None, f"{type(error).__name__}: {error}"))
            raise
        self._say((mine, ""))
        return mine

    def gather(self, value: T) -> list[T]:
        """Every process's value, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _peers():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def start_alike(self, parameters: Mapping[str, nn.Parameter], data: object) -> None:
        """Give all processes the main one's weights. Raises ConfigError where `data` differs."""
        if self.count == 1:
            return
        if len(set(self.gather(repr(data)))) > 1:
            raise ConfigError(
                f"the {self.count} processes of this run see other data; "
                "give them the same files, settings and seed"
            )
        self._own_devices(next(iter(parameters.values())).device)
        with _peers(), torch.no_grad():
            for parameter in parameters.values():
                dist.broadcast(parameter.data, src=0)

    def sum_gradients(
        self, parameters: Mapping[str, nn.Parameter], numbers: Sequence[float]
    ) -> list[float]:
        """Replace each gradient by its sum over processes; returns the sums of `numbers`.

        A parameter that no process has a gradient for keeps none, so that the optimiser leaves it
        alone, as it would in one process.
        """
        if self.count == 1:
            return list(numbers)
        trained = list(parameters.values())
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        extra = [float(p.grad is not None) for p in trained] + list(numbers)
        # One exchange a step: its latency costs more than its bytes.
        flat = torch.cat([g.flatten() for g in grads] + [trained[0].new_tensor(extra).float()])
        with _peers():
            dist.all_reduce(flat)
        sizes = [g.numel() for g in grads] + [len(extra)]
        *summed, tail = torch.split(flat, sizes)
        sums = [float(x) for x in tail.tolist()]
        for parameter, gradient, present in zip(trained, summed, sums, strict=False):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype) if present else None
        return sums[len(trained) :]

    def _say(self, what: tuple[Any, str]) -> None:
        with _peers():
            dist.broadcast_object_list([what], src=0, group=self.control)

    def _own_devices(self, device: torch.device) -> None:
        if device.type != "cuda":
            return
        gpu = f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}"
        if len(set(self.gather(gpu))) < self.count:
            raise ConfigError(
                f"some of the {self.count} processes train on the same GPU; start as many as there "
                "are GPUs, and give each its own: cuda:LOCAL_RANK"
            )


def join(device: torch.device) -> Processes:
    """The processes of this run, joined when torchrun started several; otherwise this one alone."""
    if not dist.is_available():
        return Processes()
    if not dist.is_initialized():
        if not _launched():
            return Processes()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    if dist.get_world_size() == 1:
        return Processes()
    control = dist.new_group(backend="gloo", timeout=_LONGEST_EVALUATION)
    return Processes(dist.get_rank(), dist.get_world_size(), control)


def _launched() -> bool:
    return all(name in os.environ for name in _LAUNCHED) and os.environ["WORLD_SIZE"] != "1"


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PointsmanError(
            "another process of this run stopped, and its own message says why; "
            "the same command goes on from the last checkpoint"
        ) from error
