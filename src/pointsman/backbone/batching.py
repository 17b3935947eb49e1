"""Length-bucketed batches: texts of similar length travel together, so little padding is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def length_buckets(
    lengths: Sequence[int], max_tokens: int, max_rows: int | None = None
) -> Iterator[list[int]]:
    """Indices of rows in batches whose padded size rows · longest is at most `max_tokens`.

    Longest first, so that memory peaks at once rather than at the end. A row longer than
    `max_tokens` gets a batch of its own. Every index appears exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batch: list[int] = []
    for i in order:
        longest = lengths[batch[0]] if batch else lengths[i]
        full = (len(batch) + 1) * longest > max_tokens
        if batch and (full or (max_rows is not None and len(batch) == max_rows)):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
