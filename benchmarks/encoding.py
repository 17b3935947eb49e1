"""Encoding documents and queries: Pointsman against sentence-transformers, and against the processor.

sentence-transformers runs at its defaults (fp32, batches of 32), at its best batch size, at the
dtype that Pointsman takes here, and with its ONNX and OpenVINO backends where they are installed.
The last table says how much of the rate of plain matrix products of the same shapes is reached, and
where the rest of the time goes.

    python benchmarks/encoding.py --data BEIR_DIR --out results/encoding
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from turns import in_turn

from pointsman.backbone.batching import length_buckets
from pointsman.backbone.encoder import CPU_BATCH_TOKENS, Backbone
from pointsman.backbone.weights import locate
from pointsman.data.beir import judged_queries, read_corpus
from pointsman.evaluate.results import Provenance, write_result
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.sample import sample_directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="a BEIR directory")
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    started = time.time()
    data = arguments.data or sample_directory()
    rng = random.Random(arguments.seed)
    corpus = [f"{each.title} {each.text}".strip() for each in read_corpus(data)]
    documents = rng.sample(corpus, min(arguments.documents, len(corpus)))
    judged, _ = judged_queries(data, "test")
    queries = [rng.choice(judged).text for _ in range(arguments.queries)]
    tables = []
    for what, texts in (("documents", documents), ("queries", queries)):
        found = ways(texts)
        turns = in_turn(found, arguments.rounds, arguments.seed, warm_up=1)
        own = "pointsman, " + ("bf16" if "pointsman, bf16" in found else "fp32")
        default = "sentence-transformers, default"
        rows: list[list[Cell]] = [
            [way, len(texts) / turns.median(way), *turns.ratio(default, way)] for way in found
        ]
        columns = [
            "way",
            "texts a second",
            Column("× their default", 2),
            Column("lower quartile", 2),
            Column("upper", 2),
        ]
        tables.append(Table(f"{len(texts):,} {what}", columns, rows))
        print(tables[-1].to_markdown())
        print(f"({own} is what a user gets here)")
    tables.append(profile(documents))
    print(tables[-1].to_markdown())
    if arguments.out:
        provenance = Provenance.collect(["python", *sys.argv], arguments.seed, started)
        write_result(arguments.out, tables, provenance)


def ways(texts: Sequence[str]) -> dict[str, Callable[[], object]]:
    """Every way to encode the texts, each agreeing with the first one."""
    from sentence_transformers import SentenceTransformer

    folder = str(locate(None).path)
    found: dict[str, Callable[[], object]] = {}

    def peer(name: str, batch: int, **model: object) -> None:
        encoder = SentenceTransformer(folder, device="cpu", **model)  # type: ignore[arg-type]
        found[f"sentence-transformers, {name}"] = lambda: encoder.encode(
            list(texts), batch_size=batch, show_progress_bar=False, normalize_embeddings=True
        )

    peer("default", 32)
    peer("fp32, batches of 8", 8)
    peer("fp32, batches of 128", 128)
    peer("bf16", 32, model_kwargs={"dtype": torch.bfloat16})
    for backend, package in (("onnx", "onnxruntime"), ("openvino", "openvino")):
        if importlib.util.find_spec(package) and importlib.util.find_spec("optimum"):
            peer(backend, 32, backend=backend)
    for dtype in dict.fromkeys(("fp32", choose())):
        backbone = Backbone.load(device="cpu", dtype=dtype)
        found[f"pointsman, {dtype}"] = lambda backbone=backbone: backbone.encode(texts)
    expected = np.asarray(found["pointsman, fp32"]())
    for name, run in found.items():
        given = np.asarray(run(), dtype=np.float32)
        cosine = (given * expected).sum(1) / np.linalg.norm(given, axis=1)
        # bf16 rounds every state to 8 bits; anything lower than this is another computation.
        assert cosine.min() > (0.9999 if "fp32" in name or "default" in name else 0.99), name
    return found


def choose() -> str:
    """The dtype that a backbone takes by itself here."""
    from pointsman.backbone.device import choose_dtype, dtype_name

    return dtype_name(choose_dtype(torch.device("cpu")))


def profile(documents: Sequence[str]) -> Table:
    """Encoding's share of the rate of plain matrix products, and where the rest of the time goes."""
    rows: list[list[Cell]] = []
    for dtype in dict.fromkeys(("fp32", choose())):
        backbone = Backbone.load(device="cpu", dtype=dtype)
        lengths = [len(row) for row in backbone.token_ids(documents)]
        batches = list(length_buckets(lengths, CPU_BATCH_TOKENS))
        sizes = [(len(batch), lengths[batch[0]]) for batch in batches]
        layers, d, inner = backbone.shape.layers, backbone.shape.width, backbone.shape.feed_forward
        weights = [torch.randn(d, out, dtype=backbone.dtype) for out in (d, d, d, d, inner)]
        down = torch.randn(inner, d, dtype=backbone.dtype)
        given = {rows * length: torch.randn(rows * length, d, dtype=backbone.dtype)
                 for rows, length in sizes}  # fmt: skip
        wide = {n: torch.randn(n, inner, dtype=backbone.dtype) for n in given}

        def products(
            weights: list[torch.Tensor] = weights,
            down: torch.Tensor = down,
            sizes: list[tuple[int, int]] = sizes,
            given: dict[int, torch.Tensor] = given,
            wide: dict[int, torch.Tensor] = wide,
            layers: int = layers,
        ) -> None:
            with torch.inference_mode():
                for n, length in sizes:
                    for _ in range(layers):
                        for weight in weights:
                            given[n * length] @ weight
                        wide[n * length] @ down

        def encode(backbone: Backbone = backbone) -> object:
            return backbone.encode(documents)

        def tokenise(backbone: Backbone = backbone) -> object:
            return backbone.token_ids(documents)

        turns = in_turn(
            {"encode": encode, "products": products, "tokenise": tokenise}, 5, warm_up=1
        )
        share = turns.ratio("products", "encode")
        waste = sum(n * length for n, length in sizes) / sum(lengths) - 1
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            encode()
        spent = {each.key: each.self_cpu_time_total for each in seen.key_averages()}
        total = sum(spent.values())

        def of(*words: str, spent: dict[str, float] = spent, total: float = total) -> float:
            return 100 * sum(v for k, v in spent.items() if any(w in k for w in words)) / total

        rows.append(
            [
                dtype,
                *(100 * each for each in share),
                100 * waste,
                100 * turns.ratio("tokenise", "encode")[0],
                of("addmm", "mkldnn_linear", "aten::mm", "linear"),
                of("attention", "bmm", "softmax"),
                of("gelu"),
                of("layer_norm"),
            ]
        )
    return Table(
        "Share of plain matrix products in the time of encoding documents, and a profile (%)",
        [
            "dtype", "products / encode", "lower quartile", "upper", "padding", "tokenising",
            "products", "attention", "gelu", "layer norm",
        ],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
