"""Matrix products of arrays by PyTorch's threads, which the encoder computes with as well.

NumPy's own library keeps threads of its own, and they go on waiting busily for more work after a
product. On two cores the encoder's next layers then take twice as long.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """a [n, d] times b [d, m], in their common type."""
    common = np.result_type(a, b)
    found: npt.NDArray[Any] = (_tensor(a, common) @ _tensor(b, common)).numpy()
    return found


def _tensor(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> torch.Tensor:
    array = np.asarray(array, dtype=dtype)
    if min(array.strides, default=0) < 0:  # PyTorch knows no steps backwards
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():  # of an array that must not be written: nobody does
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
