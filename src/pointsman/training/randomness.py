"""The random generators that a step draws from: seeded, captured, put back."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

# Far enough apart that the processes of one run do not draw what another seed's would.
_BETWEEN_PROCESSES = 1_000_003


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed every generator that a run could draw from; each process (`rank`) draws its own dropout."""
    seed += _BETWEEN_PROCESSES * rank
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_state(device: torch.device) -> Tensor:
    """The state of PyTorch's generators as bytes [n]: the CPU's, then the device's where it has one.

    Batches are a function of the epoch, so only what draws inside a step (dropout) has state.
    """
    if device.type == "cpu":
        return torch.get_rng_state()
    return torch.cat([torch.get_rng_state(), torch.get_device_module(device).get_rng_state().cpu()])


def restore_generators(state: Tensor, device: torch.device) -> None:
    """Put back what `generator_state` captured."""
    cpu = len(torch.get_rng_state())
    # PyTorch reads from the start of the storage, whatever view of it is given: hence the copies.
    torch.set_rng_state(state[:cpu].clone())
    if device.type != "cpu" and len(state) > cpu:
        torch.get_device_module(device).set_rng_state(state[cpu:].clone())
