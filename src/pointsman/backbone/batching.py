"""Length-bucketed batches: texts of similar length travel together, so little padding is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def length_buckets(
    lengths: Sequence[int],
    max_tokens: int,
    max_rows: int | None = None,
    batch_cost: int | None = None,
) -> Iterator[list[int]]:
    """Indices of rows in batches whose padded size rows · longest is at most `max_tokens`.

    Longest first, so that memory peaks at once rather than at the end. A row longer than
    `max_tokens` gets a batch of its own. Every index appears exactly once. `batch_cost` is what one
    more batch costs beside its tokens, in tokens: where it is given, a batch also ends where its
    padding would cost more, unless full batches are cheaper in all.
    """
    full = _buckets(lengths, max_tokens, max_rows, None)
    if batch_cost is None:
        yield from full
        return

    def price(batches: Sequence[Sequence[int]]) -> int:
        return sum(batch_cost + len(batch) * lengths[batch[0]] for batch in batches)

    # What ends early shifts all that follows, which may come out dearer.
    yield from min(list(_buckets(lengths, max_tokens, max_rows, batch_cost)), list(full), key=price)


def _buckets(
    lengths: Sequence[int], max_tokens: int, max_rows: int | None, batch_cost: int | None
) -> Iterator[list[int]]:
    """The same, ending early wherever that pays by itself."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batch: list[int] = []
    for place, i in enumerate(order):
        longest = lengths[batch[0]] if batch else lengths[i]
        room = max_tokens // max(1, longest)
        if max_rows is not None:
            room = min(room, max_rows)
        # The rows from here on that would still go into this batch, each padded by as much as this
        # one at least.
        more = min(room - len(batch), len(order) - place)
        padding = more * (longest - lengths[i])
        if batch and (more <= 0 or (batch_cost is not None and padding > batch_cost)):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """Token ids as right-padded `input_ids` and `attention_mask` [n, longest]."""
    # Every tokenizer that we can load puts at least its special tokens into an empty text;
    # one that does not gets a padding token, so that nothing is divided by zero.
    longest = max(1, max(len(row) for row in rows))
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : max(1, len(row))] = 1
    return {"input_ids": ids, "attention_mask": mask}


def pad_states(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States [length_i, d] as [n, longest, d], zero on padding, and their mask [n, longest]."""
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    places = torch.arange(padded.shape[1], device=padded.device)
    return padded, (places < lengths[:, None]).long()
