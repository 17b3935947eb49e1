"""Calibrating a grader on dev, and saying honestly what that is worth."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.data.splits import normalise
from pointsman.errors import InputError
from pointsman.evaluate.calibration import ece, nll, top_label
from pointsman.evaluate.groups import numbered
from pointsman.grade.recipe import Labelled, macro_f1_of
from pointsman.grade.scaling import Scaling, choose

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """A grader on dev: negative log-likelihood in nats, macro-F1, expected calibration error."""

    nll: float
    macro_f1: float
    ece: float

    @classmethod
    def of(cls, probabilities: npt.ArrayLike, labels: npt.NDArray[np.int64]) -> Measured:
        """Of probabilities [n, G] against grades [n]; the calibration error is of the likeliest grade."""
        # Rows of low precision may pass 1 by a little, which no likelihood may.
        given = np.minimum(np.asarray(probabilities, dtype=np.float64), 1)
        return cls(nll(given, labels), macro_f1_of(given, labels), ece(*top_label(given, labels)))


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The chosen calibration, and a grader on dev without it and with it.

    `after` is cross-fitted, so that no pair is scored by a calibration fitted to it.
    """

    scaling: Scaling
    before: Measured
    after: Measured

    def record(self) -> dict[str, Any]:
        """As a specialist's numbers hold it, and its card reads it."""
        return {
            "chosen": self.scaling.kind,
            "before": asdict(self.before),
            "after": asdict(self.after),
        }


def calibrate(raw: npt.ArrayLike, dev: Labelled) -> Calibrated:
    """Choose a calibration of what a grader says of the dev pairs, `raw` [n, G], by folds of queries.

    Raises what `crossed` raises.
    """
    labels, groups = dev.labels, [normalise(query) for query, _ in dev.pairs]
    scaling = choose(raw, labels, groups).scaling
    after = crossed(type(scaling), raw, labels, groups)
    return Calibrated(scaling, Measured.of(raw, labels), Measured.of(after, labels))


def crossed(
    kind: type[Scaling],
    probabilities: npt.ArrayLike,
    labels: npt.NDArray[np.int64],
    groups: Sequence[Hashable],
) -> npt.NDArray[np.float64]:
    """Probabilities [n, G], each fold of the `groups` [n] calibrated by the fit on all other folds.

    Raises InputError where there are fewer groups than folds.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    which = numbered(groups)
    count = int(which.max(initial=-1)) + 1
    if count < _FOLDS:
        raise InputError(f"{count} queries cannot be split into {_FOLDS} folds; give more")
    fold_of = which % _FOLDS
    out = np.empty_like(given)
    for fold in range(_FOLDS):
        mine = fold_of == fold
        out[mine] = kind.fit(given[~mine], labels[~mine]).apply(given[mine])
    return out
