"""Products by PyTorch must be NumPy's."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pointsman.products import product


@pytest.fixture(params=[True, False])
def loaded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PyTorch loaded, and without."""
    if request.param:
        pytest.importorskip("torch")
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("types", [("f4", "f4"), ("f8", "f8"), ("f4", "f8")])
def test_as_numpy_has_it(types: tuple[str, str]) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(5, 5)).astype(each) for each in types)
    found = product(a, b.T[:, ::-1][:, :3])
    assert found.dtype == np.result_type(*types)
    assert found == pytest.approx(a @ b.T[:, ::-1][:, :3], abs=1e-5)


def test_by_hand_and_with_nothing() -> None:
    a = np.array([[1.0, 2.0]])
    assert product(a, np.array([[3.0], [4.0]])).tolist() == [[11.0]]
    assert product(np.zeros((0, 2)), np.ones((2, 3))).shape == (0, 3)
