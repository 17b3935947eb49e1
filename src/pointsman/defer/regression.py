"""Linear regression of many targets on the same features, again and again, and what it says of rows that it did not learn from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Regression:
    """Ridge regression with a constant that is not penalised.

    All that does not depend on the targets is computed once. `features` [n, f] are scaled to spread 1, and
    `penalty` is that of the squared weights beside the mean squared error, of n rows, whichever learn.
    `parts` [n] number the rows' parts.
    """

    def __init__(
        self,
        features: npt.NDArray[np.floating],
        parts: npt.NDArray[np.int64],
        penalty: float,
    ) -> None:
        spread = features.std(axis=0, dtype=np.float64)
        self._scale = np.append(1.0, np.where(spread > 1e-6, spread, 1.0))
        self._x = np.hstack([np.ones((len(features), 1)), features]) / self._scale
        self._rows = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        grams = [self._x[rows].T @ self._x[rows] for rows in self._rows]
        ridge = np.diag(np.append(0.0, np.full(features.shape[1], penalty * len(features))))
        whole = sum(grams, np.zeros_like(ridge)) + ridge
        # Of constant columns nothing is learned, and with them no part is without an inverse.
        self._whole = np.linalg.pinv(whole, hermitian=True)
        self._without = [np.linalg.pinv(whole - gram, hermitian=True) for gram in grams]

    def weights(self, targets: Floats) -> Floats:
        """Of the constant and the features [1 + f, K], from targets [n, K]."""
        found: Floats = self._whole @ (self._x.T @ targets) / self._scale[:, None]
        return found

    def apart(self, targets: Floats) -> Floats:
        """What is said of every row [n, K] by the weights that the other parts give."""
        sums = [self._x[rows].T @ targets[rows] for rows in self._rows]
        whole = sum(sums, np.zeros_like(sums[0]))
        found = np.empty_like(targets)
        for rows, own, inverse in zip(self._rows, sums, self._without, strict=True):
            found[rows] = self._x[rows] @ (inverse @ (whole - own))
        return found


def predicted(
    features: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """What such weights [1 + f, K] say of features [n, f]: [n, K]."""
    return np.asarray(weights[0] + features @ weights[1:], dtype=np.float32)
