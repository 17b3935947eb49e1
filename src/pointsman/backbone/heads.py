"""Many heads on one batch: the rows of each head go through it together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from pointsman.errors import ConfigError

Name = TypeVar("Name", bound=str | None)


def apply_heads(
    states: Tensor, names: Sequence[Name], head: Callable[[Name, Tensor], Tensor]
) -> Tensor:
    """Row i of `states` [n, …, d] through the head that names[i] says: [n, …].

    `head(name, rows)` gets all rows of one name at once, in their order, and gives one output a
    row; it is called once for every name in the batch, None (no head of its own) among them. All
    outputs must have the same shape a row. Raises ConfigError where names and rows do not match,
    or outputs differ.
    """
    if len(names) != len(states):
        raise ConfigError(f"{len(names)} heads for {len(states)} rows; give one for each")
    groups: dict[Name, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    if len(groups) == 1:
        return head(names[0], states)
    out: Tensor | None = None
    for name, rows in groups.items():
        index = torch.tensor(rows, device=states.device)
        given = head(name, states.index_select(0, index))
        if out is None:
            out = given.new_empty(len(states), *given.shape[1:])
        if given.shape != (len(rows), *out.shape[1:]):
            raise ConfigError(
                f"head {name!r} gives {tuple(given.shape)} for {len(rows)} rows, where others give "
                f"{tuple(out.shape[1:])} a row"
            )
        out.index_copy_(0, index, given)
    return states.new_empty(0) if out is None else out
