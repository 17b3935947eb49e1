"""Attention forwards and backwards on a CPU: ours, PyTorch's fused kernel, and written out in full.

As in training an adapter of MiniLM's layers: 12 heads of 32 numbers, so many texts that there are ROWS
tokens in all, bf16 where the processor multiplies it. A tenth of each text is padding.

    python benchmarks/attention.py --out results/attention
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from turns import in_turn

from pointsman.backbone.cpu import attention, keep_freed_memory
from pointsman.backbone.device import trains_in_bf16
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table

HEADS, WIDTH = 12, 32
ROWS = 8_192
LENGTHS = (32, 128, 256, 512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    torch.manual_seed(arguments.seed)
    keep_freed_memory()
    dtype = torch.bfloat16 if trains_in_bf16(torch.device("cpu")) else torch.float32
    rows: list[list[Cell]] = []
    for length in LENGTHS:
        turns = in_turn(ways(length, dtype), arguments.rounds, arguments.seed)
        rows.append(
            [
                f"{ROWS // length} of {length}",
                1000 * turns.median("ours"),
                *turns.ratio("written out", "ours"),
                *turns.ratio("fused", "ours"),
            ]
        )
    columns: list[Column | str] = ["texts of tokens", "ours, ms"]
    for name in ("written out", "fused"):
        columns += [Column(f"x ours: {name}", 2), Column("quartiles, low", 2), Column("high", 2)]
    title = f"Attention, both ways, {str(dtype).removeprefix('torch.')}"
    table = Table(title, columns, rows, ["Medians of ratios within a round, and their quartiles."])
    print(table.to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, [table], provenance)


def ways(length: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Three ways from the same queries, keys and values to their gradients."""
    n = ROWS // length
    drawn = torch.randn(3, n, length, HEADS, WIDTH, dtype=dtype)
    q, k, v = (each.transpose(1, 2).requires_grad_() for each in drawn)
    sent_back = torch.randn(n, length, HEADS, WIDTH, dtype=dtype)
    mask = torch.ones(n, length, dtype=torch.long)
    mask[:, length - length // 10 :] = 0
    real = mask[:, None, None].bool()

    def ours() -> Tensor:
        return attention(nn.Identity(), q, k, v, mask)[0]

    def fused() -> Tensor:
        of = nn.functional.scaled_dot_product_attention
        return of(q, k, v, attn_mask=real).transpose(1, 2)

    def written_out() -> Tensor:
        scores = (q * WIDTH**-0.5) @ k.transpose(2, 3)
        return (scores.masked_fill(~real, -torch.inf).softmax(-1) @ v).transpose(1, 2)

    def both_ways(forward: Callable[[], Tensor]) -> Callable[[], object]:
        def run() -> None:
            for each in (q, k, v):
                each.grad = None
            forward().backward(sent_back)  # type: ignore[no-untyped-call]

        return run

    return {
        "ours": both_ways(ours),
        "fused": both_ways(fused),
        "written out": both_ways(written_out),
    }


if __name__ == "__main__":
    main()
