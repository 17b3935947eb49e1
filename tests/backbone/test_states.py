"""States kept on disk: the same numbers, computed once, whatever interrupted the writing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.states import StateCache

TEXTS = ["alpha", "beta follows gamma", "", "what is the colour of red", "rho sigma tau " * 9]


class Counting:
    """Counts the texts whose lower layers are computed."""

    def __init__(self, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed = 0
        real = backbone.begin_ids

        def begin_ids(ids: list[list[int]], layers: int) -> object:
            self.computed += len(ids)
            return real(ids, layers)

        monkeypatch.setattr(backbone, "begin_ids", begin_ids)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_vectors_are_the_same_and_nothing_is_computed_twice(
    tmp_path: Path, tiny_folder: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = Backbone.load(tiny_folder, device="cpu", dtype=dtype)
    direct = backbone.begin(TEXTS, layers=1)
    counting = Counting(backbone, monkeypatch)
    cache = StateCache(tmp_path, backbone, 1)
    first = cache.begin([TEXTS[3], TEXTS[0], TEXTS[3]])
    assert counting.computed == 2
    found = cache.begin(TEXTS)
    assert counting.computed == len(TEXTS) == len(cache)
    # A batch's company changes the last bits of what is computed, never of what is read back.
    for row, expected in zip(found.rows, direct.rows, strict=True):
        assert row.dtype == backbone.dtype
        assert torch.allclose(row.float(), expected.float(), atol=3e-2 if dtype == "bf16" else 1e-5)
    assert torch.equal(found.rows[3], first.rows[0])
    assert torch.equal(first.rows[0], first.rows[2])
    again = StateCache(tmp_path, backbone, 1).begin(TEXTS)
    assert counting.computed == len(TEXTS)
    assert all(torch.equal(a, b) for a, b in zip(found.rows, again.rows, strict=True))
    assert np.array_equal(backbone.finish(found), backbone.finish(again))


def test_layers_dtypes_and_prompts_do_not_mix(tmp_path: Path, tiny: Backbone) -> None:
    one, two = StateCache(tmp_path, tiny, 1), StateCache(tmp_path, tiny, 2)
    shallow = one.begin(["alpha beta"]).rows[0].clone()
    assert not torch.allclose(shallow, two.begin(["alpha beta"]).rows[0], atol=1e-3)
    assert torch.equal(one.begin(["alpha beta"]).rows[0], shallow)


def test_an_interrupted_write_is_written_over(tmp_path: Path, tiny: Backbone) -> None:
    cache = StateCache(tmp_path, tiny, 1)
    kept = [row.clone() for row in cache.begin(TEXTS[:2]).rows]
    (data,) = tmp_path.glob("*.states")
    (index,) = tmp_path.glob("*.index")
    with data.open("ab") as file:
        file.write(b"half a state")
    with index.open("ab") as file:
        file.write(b"half a record")
    again = StateCache(tmp_path, tiny, 1)
    assert len(again) == 2
    found = again.begin(TEXTS)
    assert all(torch.equal(a, b) for a, b in zip(kept, found.rows, strict=False))
    direct = tiny.begin(TEXTS, layers=1)
    for reopened in (found, StateCache(tmp_path, tiny, 1).begin(TEXTS)):
        for row, expected in zip(reopened.rows, direct.rows, strict=True):
            assert torch.allclose(row, expected, atol=1e-5)


def test_two_processes_write_one_file(tmp_path: Path, tiny_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pointsman.backbone.encoder import Backbone; "
        "from pointsman.backbone.states import StateCache; "
        "base = Backbone.load(sys.argv[1], device='cpu', dtype='fp32'); "
        "cache = StateCache(Path(sys.argv[2]), base, 1); "
        "[cache.begin([f'alpha {i}', f'beta {i * int(sys.argv[3])}']) for i in range(30)]"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tiny_folder), str(tmp_path), step])
        for step in ("1", "7")
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    backbone = Backbone.load(tiny_folder, device="cpu", dtype="fp32")
    cache = StateCache(tmp_path, backbone, 1)
    texts = [f"alpha {i}" for i in range(30)] + [f"beta {i * k}" for i in range(30) for k in (1, 7)]
    assert len(cache) == len(set(texts))
    direct = backbone.begin(texts, layers=1)
    for row, expected in zip(cache.begin(texts).rows, direct.rows, strict=True):
        assert torch.allclose(row, expected, atol=1e-5)
