"""Matrix products of arrays by PyTorch's threads, which the encoder computes with as well.

NumPy's own library keeps threads of its own, and they go on waiting busily for more work after a
product. On two cores the encoder's next layers then take twice as long.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


def product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """a [n, d] times b [d, m], in their common type.

    By NumPy where PyTorch is not loaded: loading it takes a second, and no encoder is in the way.
    """
    common = np.result_type(a, b)
    found: npt.NDArray[Any]
    if "torch" not in sys.modules:
        found = np.asarray(a, dtype=common) @ np.asarray(b, dtype=common)
    else:
        found = (_tensor(a, common) @ _tensor(b, common)).numpy()
    return found


def _tensor(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> Tensor:
    import torch

    array = np.asarray(array, dtype=dtype)
    if min(array.strides, default=0) < 0:  # PyTorch knows no steps backwards
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():  # of an array that must not be written: nobody does
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
