"""A batch of 64 queries over 1, 8 and 100 adapters: the bank against PEFT, grouping, and the base.

base      the base's own forward pass, without any adapter
bank      every row through its own adapter, in one pass
peft      PEFT's `adapter_names`, its way to mix adapters in a batch
grouped   one pass for each adapter in the batch, as where one adapter is active at a time

    python benchmarks/mixed_adapters.py --out results/mixed_adapters
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from turns import in_turn

from pointsman.backbone.batching import pad
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, linear_layers
from pointsman.data.beir import judged_queries
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.sample import sample_directory

ROWS = 64
# What is adapted: name, rank, the last parts of the layers' names.
KINDS: list[tuple[str, int, tuple[str, ...]]] = [
    ("query and value, rank 8", 8, ("query", "value")),
    ("all linear layers, rank 8", 8, ("query", "key", "value", "dense")),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="a BEIR directory")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--adapters", type=int, nargs="+", default=[1, 8, 100])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    queries, _ = judged_queries(arguments.data or sample_directory(), "test")
    rng = random.Random(arguments.seed)
    texts = [rng.choice(queries).text for _ in range(ROWS)]
    tables, length = [], 0
    for dtype in ("fp32", "bf16"):
        rows: list[list[Cell]] = []
        for kind, rank, targets in KINDS:
            for count in arguments.adapters:
                backbone = Backbone.load(device="cpu", dtype=dtype)
                inputs = pad(backbone.token_ids(texts, "query"), 0)
                length = inputs["input_ids"].shape[1]
                names = [f"a{rng.randrange(count)}" for _ in range(ROWS)]
                turns = in_turn(
                    ways(backbone, inputs, names, count, rank, targets, dtype), arguments.rounds
                )
                for way in turns.seconds:
                    rows.append([kind, count, way, *turns.row(way, "base")])
        title = f"{ROWS} queries of {length} tokens, {dtype}, {torch.get_num_threads()} threads"
        columns = [
            "adapted",
            "adapters",
            "way",
            "median ms",
            Column("× base", 2),
            Column("lower quartile", 2),
            Column("upper", 2),
        ]
        tables.append(Table(title, columns, rows))
        print(tables[-1].to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, tables, provenance)


def ways(
    backbone: Backbone,
    inputs: dict[str, torch.Tensor],
    names: list[str],
    count: int,
    rank: int,
    targets: tuple[str, ...],
    dtype: str,
) -> dict[str, Callable[[], object]]:
    """The four ways over the same weights and the same batch; checked against each other first."""
    generator = torch.Generator().manual_seed(0)
    layers = {n: m for n, m in linear_layers(backbone.model).items() if n.endswith(targets)}
    for i in range(count):
        pairs = {
            name: LowRank(
                torch.randn(rank, layer.in_features, generator=generator) / 20,
                torch.randn(layer.out_features, rank, generator=generator) / 20,
                1.0,
            )
            for name, layer in layers.items()
        }
        backbone.add_adapter(f"a{i}", LoraAdapter(pairs))
    bank = backbone._bank
    rival = peft_model(dtype, bank, count, rank, list(layers))
    groups = {
        name: torch.tensor([i for i, each in enumerate(names) if each == name])
        for name in dict.fromkeys(names)
    }

    def run_base() -> torch.Tensor:
        with torch.inference_mode():
            return backbone.forward(inputs)

    def run_bank() -> torch.Tensor:
        with torch.inference_mode(), bank.rows(names):
            return backbone.forward(inputs)

    def run_peft() -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = rival(**inputs, adapter_names=names).last_hidden_state
            return found

    def run_grouped() -> torch.Tensor:
        out = torch.empty(0)
        with torch.inference_mode():
            for name, rows in groups.items():
                part = {key: value[rows] for key, value in inputs.items()}
                with bank.rows([name] * len(rows)):
                    states = backbone.forward(part)
                if not out.numel():
                    out = states.new_empty(len(names), *states.shape[1:])
                out[rows] = states
        return out

    expected = run_bank().float()
    real = inputs["attention_mask"].bool()
    tolerance = 1e-3 if dtype == "fp32" else 0.15
    for other in (run_peft, run_grouped):
        assert (other().float() - expected)[real].abs().max() < tolerance, other.__name__
    return {"base": run_base, "bank": run_bank, "peft": run_peft, "grouped": run_grouped}


def peft_model(dtype: str, bank: Any, count: int, rank: int, layers: list[str]) -> Any:
    """PEFT's model with the same adapters, in the base's own dtype."""
    from peft import LoraConfig, get_peft_model

    warnings.filterwarnings("ignore")
    base = Backbone.load(device="cpu", dtype=dtype).model
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers, lora_dropout=0.0)
    model = get_peft_model(base, config, adapter_name="a0", autocast_adapter_dtype=False)
    for i in range(1, count):
        model.add_adapter(f"a{i}", config, autocast_adapter_dtype=False)
    modules = dict(model.base_model.model.named_modules())
    with torch.no_grad():
        for layer in layers:
            stack = bank._stacks[layer]
            for i in range(count):
                a, b = stack.pairs(bank._slots[f"a{i}"])[layer]
                modules[layer].lora_A[f"a{i}"].weight.copy_(a)
                modules[layer].lora_B[f"a{i}"].weight.copy_(b.T)
    return model.eval()


if __name__ == "__main__":
    main()
