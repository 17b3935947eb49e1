"""Encoding documents and queries: Pointsman against sentence-transformers, and against the processor.

sentence-transformers runs at its defaults (fp32, batches of 32), with smaller batches, in bf16, and
with its ONNX and OpenVINO backends where --peer-python names a Python that has them. The last table
says how much of the rate of plain matrix products of the same shapes is reached, and where the rest
of the time goes.

    python benchmarks/encoding.py --data BEIR_DIR --out results/encoding --peer-python PYTHON
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from peer import Peer
from turns import in_turn

from pointsman.backbone.cpu import speed_up
from pointsman.backbone.device import cpu_has_bf16
from pointsman.backbone.encoder import Backbone
from pointsman.backbone.weights import locate
from pointsman.data.beir import judged_queries, read_corpus
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.sample import sample_directory

DTYPES = ("fp32", "bf16") if cpu_has_bf16() else ("fp32",)
DEFAULT = "sentence-transformers, default"
# Name, the peer's arguments, and whether it needs the other Python.
PEERS: list[tuple[str, list[str], bool]] = [
    (DEFAULT, [], False),
    ("sentence-transformers, batches of 8", ["--batch", "8"], False),
    ("sentence-transformers, bf16", ["--dtype", "bfloat16"], False),
    ("sentence-transformers, ONNX", ["--backend", "onnx"], True),
    ("sentence-transformers, OpenVINO", ["--backend", "openvino"], True),
    (
        "sentence-transformers, OpenVINO in fp32",
        ["--backend", "openvino", "--openvino-precision", "f32"],
        True,
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="a BEIR directory")
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-python", default=None, help="a Python with the other backends")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    data = arguments.data or sample_directory()
    rng = random.Random(arguments.seed)
    corpus = [f"{each.title} {each.text}".strip() for each in read_corpus(data)]
    documents = rng.sample(corpus, min(arguments.documents, len(corpus)))
    judged, _ = judged_queries(data, "test")
    queries = [rng.choice(judged).text for _ in range(arguments.queries)]
    tables = [
        compared(what, texts, arguments.rounds, arguments.seed, arguments.peer_python)
        for what, texts in (("documents", documents), ("queries", queries))
    ]
    tables.append(profile(documents))
    print(tables[-1].to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, tables, provenance)


def compared(
    what: str, texts: Sequence[str], rounds: int, seed: int, peer_python: str | None
) -> Table:
    """Every way to encode the texts, in turn."""
    ways: dict[str, Callable[[], object]] = {}
    cosines: dict[str, float] = {}
    missing = []
    with tempfile.TemporaryDirectory() as folder:
        expected = Backbone.load(device="cpu", dtype="fp32", attention="eager").encode(texts)
        given = Path(folder) / "texts.json"
        given.write_text(json.dumps(list(texts)))
        # The weights are copied by nobody: an exporter may write beside them.
        model = locate(None).path
        for name, options, elsewhere in PEERS:
            if elsewhere and peer_python is None:
                missing.append(name)
                continue
            found = Path(folder) / "vectors.npy"
            python = peer_python if elsewhere and peer_python else sys.executable
            ways[name] = Peer(python, [str(model), str(given), str(found), *options])
            cosines[name] = float((np.load(found) * expected).sum(1).min())
        for dtype in (*DTYPES, "int8"):
            backbone = Backbone.load(device="cpu", dtype=dtype)
            name = f"pointsman, {dtype}"
            ways[name] = partial(backbone.encode, texts)
            cosines[name] = float((backbone.encode(texts) * expected).sum(1).min())
        turns = in_turn(ways, rounds, seed, warm_up=1)
        for encode in ways.values():
            if isinstance(encode, Peer):
                encode.close()
    rows: list[list[Cell]] = []
    for way in ways:
        speed = [len(texts) / turns.median(way), *turns.ratio(DEFAULT, way)]
        equal = "sentence-transformers, bf16" if way.endswith("bf16") else DEFAULT
        own = None
        if way.startswith("pointsman") and not way.endswith("int8"):
            own = turns.ratio(equal, way)[0]
        rows.append([way, *speed, own, cosines[way]])
    notes = [f"{name} is left out: no --peer-python was given." for name in missing]
    table = Table(
        f"{len(texts):,} {what}, {torch.get_num_threads()} threads",
        [
            "way",
            "texts a second",
            Column("× their default", 2),
            Column("lower quartile", 2),
            Column("upper", 2),
            Column("× them at equal dtype", 2),
            Column("lowest cosine to fp32", 5),
        ],
        rows,
        notes=tuple(notes),
    )
    print(table.to_markdown())
    return table


def profile(documents: Sequence[str]) -> Table:
    """Encoding's share of the rate of plain matrix products, and where the rest of the time goes."""
    rows: list[list[Cell]] = []
    for dtype in DTYPES:
        backbone = Backbone.load(device="cpu", dtype=dtype)
        lengths = [len(row) for row in backbone.token_ids(documents)]
        sizes = [(len(batch), lengths[batch[0]]) for batch in backbone._batches(lengths)]

        def encode(backbone: Backbone = backbone) -> object:
            return backbone.encode(documents)

        def tokenise(backbone: Backbone = backbone) -> object:
            return backbone.token_ids(documents)

        products = plain_products(backbone, [n * length for n, length in sizes])
        turns = in_turn(
            {"encode": encode, "products": products, "tokenise": tokenise}, 7, warm_up=1
        )
        waste = sum(n * length for n, length in sizes) / sum(lengths) - 1
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            encode()
        spent = {each.key: each.self_cpu_time_total for each in seen.key_averages()}
        total = sum(spent.values())

        def of(*words: str, spent: dict[str, float] = spent, total: float = total) -> float:
            return 100 * sum(v for k, v in spent.items() if any(w in k for w in words)) / total

        shares = [of("linear", "addmm"), of("attention", "bmm", "softmax"), of("gelu")]
        shares += [of("layer_norm"), 100 * turns.ratio("tokenise", "encode")[0], 100 * waste]
        rows.append([dtype, *(100 * each for each in turns.ratio("products", "encode")), *shares])
    return Table(
        "Encoding documents: plain matrix products of the same shapes in % of the time, and a profile",
        [
            "dtype", "products alone", "lower quartile", "upper", "products", "attention", "GELU",
            "layer norm", "tokenising", "padding",
        ],
        rows,
        notes=(
            "'products alone' is the time of the model's linear layers' products, run by themselves "
            "on inputs that are there, over the time of the whole; the columns after it are a "
            "profile of the whole. 'padding' is tokens computed beyond the texts' own.",
        ),
    )  # fmt: skip


def plain_products(backbone: Backbone, tokens: Sequence[int]) -> Callable[[], None]:
    """The products of all linear layers, by the fastest library there is here, for batches of tokens."""
    d, inner = backbone.shape.width, backbone.shape.feed_forward
    layers = torch.nn.ModuleList(
        torch.nn.Linear(*size, bias=False, dtype=backbone.dtype)
        for size in [(d, d)] * 4 + [(d, inner), (inner, d)]
    )
    speed_up(layers)
    given = {n: torch.randn(n, d, dtype=backbone.dtype) for n in tokens}
    wide = {n: torch.randn(n, inner, dtype=backbone.dtype) for n in tokens}

    def run() -> None:
        with torch.inference_mode():
            for n in tokens:
                for _ in range(backbone.shape.layers):
                    for layer in layers:
                        layer(wide[n] if layer.in_features == inner else given[n])

    return run


if __name__ == "__main__":
    main()
