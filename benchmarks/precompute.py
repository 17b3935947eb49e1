"""What keeping the lower layers' states on disk buys when an adapter of the upper layers is trained.

A training step embeds a batch of queries through an adapter that changes only the layers from CUT
on, scores them against fixed document vectors and steps the optimiser. It is run from the texts,
and from states that were computed once.

    python benchmarks/precompute.py --data BEIR_DIR --out results/precompute
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from turns import in_turn

from pointsman.backbone.batching import pad, pad_states
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, new_adapter
from pointsman.backbone.states import StateCache
from pointsman.data.beir import judged_queries
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.sample import sample_directory

BATCH = 64
RANK = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="a BEIR directory")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    queries, _ = judged_queries(arguments.data or sample_directory(), "test")
    rng = random.Random(arguments.seed)
    texts = [query.text for query in queries]
    batch = [rng.choice(texts) for _ in range(BATCH)]
    rows: list[list[Cell]] = []
    for cut in (2, 3, 4, 5):
        backbone = Backbone.load(device="cpu", to_train=True)
        whole = new_adapter(backbone.model, RANK, 2 * RANK, torch.Generator().manual_seed(0))
        adapter = LoraAdapter(
            {n: p for n, p in whole.layers.items() if int(n.split(".")[2]) >= cut}
        )
        with tempfile.TemporaryDirectory() as folder:
            cache = StateCache(Path(folder), backbone, cut)
            begin = time.perf_counter()
            cache.begin(texts)
            once = time.perf_counter() - begin
            turns = in_turn(steps(backbone, adapter, cache, batch, cut), arguments.rounds)
            size = cache.nbytes / len(cache) / 1024
        rows.append(
            [
                f"layers {cut} to 5",
                1000 * turns.median("texts"),
                1000 * turns.median("states"),
                *turns.ratio("texts", "states"),
                1000 * once / len(cache),
                size,
            ]
        )
    table = Table(
        f"A training step of {BATCH} queries, rank {RANK}",
        [
            "adapted",
            "ms from texts",
            "ms from states",
            Column("times faster", 2),
            Column("lower quartile", 2),
            Column("upper", 2),
            Column("ms a text, once", 2),
            "KiB a text",
        ],
        rows,
    )
    print(table.to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, [table], provenance)


def steps(
    backbone: Backbone, adapter: LoraAdapter, cache: StateCache, batch: list[str], cut: int
) -> dict[str, Callable[[], object]]:
    """A step from texts and one from states; both see the same loss at the start."""
    documents = torch.nn.functional.normalize(torch.randn(BATCH, backbone.shape.width), dim=-1)

    def step(states: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], float]:
        parameters = adapter.trainable()
        optimizer = torch.optim.AdamW(list(parameters.values()), lr=1e-4)

        def run() -> float:
            with torch.autocast("cpu", torch.bfloat16, backbone.dtype == torch.bfloat16):
                with backbone.using(adapter.with_tensors(parameters)):
                    last, mask = states()
                kept = mask.unsqueeze(-1)
                vectors = nn.functional.normalize((last * kept).sum(1) / kept.sum(1), dim=-1)
                scores = 20 * vectors.float() @ documents.T
            loss = nn.functional.cross_entropy(scores, torch.arange(BATCH))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return float(loss.detach())

        return run

    def from_texts() -> tuple[Tensor, Tensor]:
        inputs = pad(backbone.token_ids(batch), 0)
        return backbone.forward(inputs), inputs["attention_mask"]

    def from_states() -> tuple[Tensor, Tensor]:
        states, mask = pad_states(cache.begin(batch).rows)
        return backbone.forward_upper(states, mask, cut), mask

    return {"texts": step(from_texts), "states": step(from_states)}


if __name__ == "__main__":
    main()
