"""Cost as the work grows: text length, batch size, and the number of adapters, in time and memory.

python benchmarks/growth.py --out results/growth          (--plot results/growth.svg: a picture)
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from turns import Turns, in_turn

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, linear_layers
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table

LENGTHS = (16, 32, 64, 128, 256, 512)
BATCHES = (1, 4, 16, 64, 256, 512)
ADAPTERS = (1, 10, 100, 1000)
RANK = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--plot", type=Path, default=None, help="an SVG or PNG; needs matplotlib")
    arguments = parser.parse_args()
    started = time.time()
    backbone = Backbone.load(device="cpu")
    name = str(backbone.dtype).removeprefix("torch.")
    by_length = Table(
        f"16 texts in one batch, {name}",
        ["tokens a text", "median ms", "µs a token"],
        series(backbone, [(16, length, ()) for length in LENGTHS], LENGTHS, arguments.rounds),
    )
    by_batch = Table(
        f"Texts of 16 tokens in one batch, {name}",
        ["texts", "median ms", "µs a token"],
        series(backbone, [(n, 16, ()) for n in BATCHES], BATCHES, arguments.rounds),
    )
    by_adapters, memory = grow_adapters(backbone, arguments.rounds, name)
    tables = (by_length, by_batch, by_adapters, memory)
    for table in tables:
        print(table.to_markdown())
    if arguments.out:
        write_result(
            arguments.out, tables, Provenance.collect(["python", *sys.argv], None, started)
        )
    if arguments.plot:
        plot(tables, arguments.plot)


def forward(backbone: Backbone, rows: int, length: int, names: Sequence[str]) -> Turns | object:
    """One pass over random token ids; through the rows' adapters where names are given."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20_000, (rows, length), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    through = [names[i % len(names)] for i in range(rows)] if names else [None] * rows
    with torch.inference_mode(), backbone._bank.rows(through):
        return backbone.forward(inputs)


def series(
    backbone: Backbone,
    works: Sequence[tuple[int, int, Sequence[str]]],
    labels: Sequence[int],
    rounds: int,
) -> list[list[Cell]]:
    ways: dict[str, Callable[[], object]] = {
        str(label): lambda work=work: forward(backbone, *work)
        for label, work in zip(labels, works, strict=True)
    }
    turns = in_turn(ways, rounds)
    return [
        [label, 1000 * turns.median(str(label)), 1e6 * turns.median(str(label)) / (rows * length)]
        for label, (rows, length, _) in zip(labels, works, strict=True)
    ]


def grow_adapters(backbone: Backbone, rounds: int, name: str) -> tuple[Table, Table]:
    """64 texts over ever more adapters, each measured in turn with the base; and the bank's memory."""
    linear = linear_layers(backbone.model)
    generator = torch.Generator().manual_seed(0)
    adapter = LoraAdapter(
        {
            layer: LowRank(
                torch.randn(RANK, module.in_features, generator=generator) / 20,
                torch.randn(module.out_features, RANK, generator=generator) / 20,
                1.0,
            )
            for layer, module in linear.items()
        }
    )
    base = sum(p.numel() * p.element_size() for p in backbone.model.parameters())
    times: list[list[Cell]] = []
    sizes: list[list[Cell]] = [[0, base / 2**20, 0.0, None]]
    for count in ADAPTERS:
        begin = time.perf_counter()
        for i in range(len(backbone.adapters), count):
            backbone.add_adapter(f"a{i}", adapter)
        adding = time.perf_counter() - begin
        turns = in_turn(
            {
                "base": lambda: forward(backbone, 64, 16, ()),
                "bank": lambda: forward(backbone, 64, 16, backbone.adapters),
            },
            rounds * 3,
        )
        times.append([count, *turns.row("bank", "base")])
        stacks = backbone._bank.nbytes
        sizes.append([count, (base + stacks) / 2**20, stacks / 2**20 / count, adding])
    return (
        Table(
            f"64 texts of 16 tokens, rank {RANK} on all linear layers, {name}",
            [
                "adapters",
                "median ms",
                Column("× base", 2),
                Column("lower quartile", 2),
                Column("upper", 2),
            ],
            times,
        ),
        Table(
            f"Memory of weights, rank {RANK} on all linear layers, {name}",
            ["adapters", "MiB in all", Column("MiB an adapter", 2), "seconds to add"],
            sizes,
        ),
    )


def plot(tables: Sequence[Table], path: Path) -> None:
    """The four tables as four panels, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, len(tables), figsize=(3.6 * len(tables), 3.2))
    for axis, table in zip(axes, tables, strict=True):
        rows = [row for row in table.rows if row[0]]
        x, y = [row[0] for row in rows], [row[1] for row in rows]
        axis.plot(x, y, marker="o", color="#1f5f8b")
        axis.set_xscale("log")
        axis.set_xticks(x, [f"{each:,}" for each in x], minor=False)
        axis.minorticks_off()
        # What hardly grows would look steep on an axis cut to its range.
        if max(y) > 3 * min(y):
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        else:
            axis.set_ylim(0, 1.2 * max(y))
        first, second, *_ = [getattr(c, "name", c) for c in table.columns]
        axis.set_xlabel(first)
        axis.set_ylabel(second)
        axis.set_title(textwrap.fill(table.title, 30), fontsize=9)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
