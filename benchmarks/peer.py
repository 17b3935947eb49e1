"""sentence-transformers in a process of its own, encoding whenever it is told to.

Its own process, because its backends need an environment of their own (ONNX Runtime's and
OpenVINO's exporters ask for an older transformers), and because what we do to a process would help
or hinder it. `encoding.py` starts it:

    python benchmarks/peer.py MODEL TEXTS.json VECTORS.npy --backend onnx

It says `ready`, then answers every line it is given with `done`; the vectors are saved once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class Peer:
    """The other end: a running process. Raises RuntimeError with its last words where it cannot start."""

    def __init__(self, python: str, arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [python, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            _, said = self._process.communicate()
            raise RuntimeError(said.strip().splitlines()[-1] if said.strip() else "no reason given")

    def __call__(self) -> None:
        """Encode the texts once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        if self._process.stdout.readline().strip() != "done":
            raise RuntimeError("the peer has died")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("texts", type=Path)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--openvino-precision", default=None, help="f32, where bf16 is its choice")
    arguments = parser.parse_args()
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    more: dict[str, object] = {}
    if arguments.dtype is not None:
        more["dtype"] = getattr(torch, arguments.dtype)
    if arguments.openvino_precision is not None:
        more["ov_config"] = {"INFERENCE_PRECISION_HINT": arguments.openvino_precision}
    texts = json.loads(arguments.texts.read_text())
    # Exporting writes beside the weights or to standard output, in some versions; keep ours clean.
    out, sys.stdout = sys.stdout, sys.stderr
    encoder = SentenceTransformer(
        arguments.model, device="cpu", backend=arguments.backend, model_kwargs=more
    )

    def encode() -> np.ndarray:
        found: np.ndarray = encoder.encode(
            texts, batch_size=arguments.batch, show_progress_bar=False, normalize_embeddings=True
        )
        return found

    np.save(arguments.vectors, np.asarray(encode(), dtype=np.float32))
    print("ready", file=out, flush=True)
    for _ in sys.stdin:
        encode()
        print("done", file=out, flush=True)


if __name__ == "__main__":
    main()
