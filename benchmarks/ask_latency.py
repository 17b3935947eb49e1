"""How long one question takes, and where the time goes.

Asks questions one at a time of an index in memory-warm state, after a warm-up, and writes
results/ask_latency.{json,md}. Without --data it uses the sample collection.

    python benchmarks/ask_latency.py
    python benchmarks/ask_latency.py --data BEIR_DIR --questions 300
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from pointsman import Workspace
from pointsman.data.beir import judged_queries
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.sample import sample_directory

WARM_UP = 20
STAGES = ("route", "retrieve", "grade", "select", "defer", "read")
READ = (1, 5, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="a BEIR directory")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/ask_latency"))
    arguments = parser.parse_args()
    started = time.time()
    data = arguments.data or sample_directory()
    queries, _ = judged_queries(data, "test")
    texts = [query.text for query in queries]
    rng = random.Random(arguments.seed)
    asked = [rng.choice(texts) for _ in range(arguments.questions)]
    rows: list[list[Cell]] = []
    stages: list[list[Cell]] = []
    batched: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as directory:
        first = Workspace.create(Path(directory) / "space")
        first.index([data])
        passages = len(first.store)
        first.close()
        for read in READ:
            space = Workspace.open(Path(directory) / "space", overrides={"read.passages": read})
            for text in asked[:WARM_UP]:
                space.ask(text)
            seconds, by_stage = [], defaultdict(list)
            for text in asked:
                begin = time.perf_counter()
                answer = space.ask(text)
                seconds.append(time.perf_counter() - begin)
                for step in answer.trace.steps:
                    by_stage[step.stage].append(step.seconds)
            p50, p90, p99 = np.percentile(seconds, [50, 90, 99])
            rows.append([read, float(p50), float(p90), float(p99), float(np.mean(seconds))])
            total = sum(sum(values) for values in by_stage.values())
            stages.append([read, *(sum(by_stage[stage]) / total for stage in STAGES)])
            begin = time.perf_counter()
            space.ask_many(asked)
            batched.append([read, len(asked) / (time.perf_counter() - begin)])
            space.close()
    name = arguments.data.resolve().name if arguments.data else "the sample collection"
    tables = (
        Table(
            f"ask, one question at a time: {name}, {passages:,} passages, {len(asked)} questions",
            [
                "passages read",
                Column("p50 ms", scale=1000),
                Column("p90 ms", scale=1000),
                Column("p99 ms", scale=1000),
                Column("mean ms", scale=1000),
            ],
            rows,
        ),
        Table(
            "Where the time goes: % of the stages' sum",
            ["passages read", *(Column(stage, scale=100) for stage in STAGES)],
            stages,
        ),
        Table(
            "ask_many, all questions together",
            ["passages read", Column("questions a second")],
            batched,
        ),
    )
    for table in tables:
        print(table.to_markdown())
    provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
    write_result(arguments.out, tables, provenance)


if __name__ == "__main__":
    main()
