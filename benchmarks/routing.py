"""Routing and embedding a batch of 64 queries, against the base's own encoding of them.

base         the base alone, no routing
one pass     features from the lower layers, familiarity, the experts' changes mixed in the upper ones
two passes   RouterRetriever: the base's vectors, pilots, then the chosen expert of each query
all passes   every expert's vectors, mixed

What the experts learned costs nothing, so their matrices are random here.

    python benchmarks/routing.py --data BEIR_DIR --out results/routing_cost
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from turns import in_turn

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import LoraAdapter, LowRank, new_adapter
from pointsman.backbone.queries import EncodedQueries, routed_vectors
from pointsman.data.beir import judged_queries
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.route.expert import domain_of
from pointsman.route.mixture import MixtureRouter
from pointsman.route.pilots import Pilots
from pointsman.route.router import PilotRouter
from pointsman.sample import sample_directory

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="a BEIR directory")
    parser.add_argument("--experts", type=int, nargs="+", default=[1, 7, 20])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    queries, _ = judged_queries(arguments.data or sample_directory(), "test")
    rng = random.Random(arguments.seed)
    texts = [rng.choice(queries).text for _ in range(BATCH)]
    backbone = Backbone.load()
    rows: list[list[Cell]] = []
    for count in arguments.experts:
        turns = in_turn(ways(backbone, texts, count), arguments.rounds)
        rows += [[count, way, *turns.row(way, "base")] for way in turns.seconds]
    dtype = str(backbone.dtype).removeprefix("torch.")
    columns = [
        "experts",
        "way",
        "median ms",
        Column("× base", 2),
        Column("lower quartile", 2),
        Column("upper", 2),
    ]
    table = Table(f"{BATCH} queries, {dtype}, {torch.get_num_threads()} threads", columns, rows)
    print(table.to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, [table], provenance)


def ways(backbone: Backbone, texts: list[str], count: int) -> dict[str, Callable[[], object]]:
    """The ways to embed the texts, among so many experts; the experts are put into the backbone."""
    names = [f"e{i}" for i in range(count)]
    for seed, name in enumerate(names):
        backbone.add_adapter(name, random_expert(backbone, seed))
    # Domains of the texts' own kind, so that queries are familiar and several experts get weight.
    domains = {name: domain_of(backbone, texts[i::count] or texts) for i, name in enumerate(names)}
    mixture = MixtureRouter(domains)
    generator = np.random.default_rng(0)
    pilots = generator.normal(size=(count + 1, backbone.identity.dimension)).astype(np.float32)
    paper = PilotRouter(["base", *names], Pilots(pilots, np.arange(count + 1)))

    def route(router: MixtureRouter | PilotRouter) -> object:
        queries = EncodedQueries(texts, backbone)
        return routed_vectors(backbone, queries, router.route(queries))

    def every() -> object:
        passes = [backbone.encode(texts, name, prompt="query") for name in (None, *names)]
        return np.mean(passes, axis=0)

    return {
        "base": lambda: backbone.encode(texts, prompt="query"),
        "one pass": lambda: route(mixture),
        "two passes": lambda: route(paper),
        "all passes": every,
    }


def random_expert(backbone: Backbone, seed: int) -> LoraAdapter:
    generator = torch.Generator().manual_seed(seed)
    fresh = new_adapter(backbone.model, 8, 32.0, generator, None, backbone.routing_layers)
    return LoraAdapter(
        {
            name: LowRank(pair.a, torch.randn(pair.b.shape, generator=generator) / 100, pair.scale)
            for name, pair in fresh.layers.items()
        }
    )


if __name__ == "__main__":
    main()
