"""Calibration maps of probabilities over grades [n, G], fitted on held-out data and kept in JSON.

All take probabilities, not logits, so that they follow any model; log p differs from the logits by
a constant of each row, which the softmax forgets. Shared: InputError for probabilities that are not
[n, G] with G >= 2, finite, non-negative and of rows that sum to 1, and for labels that are not n
grades from 0 to G - 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from pointsman.errors import ConfigError, InputError, SpecialistError
from pointsman.evaluate.calibration import nll
from pointsman.evaluate.groups import numbered

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# What probability 0 counts as in a logarithm: the least that a softmax in float32 can say.
_SMALLEST = float(np.finfo(np.float32).tiny)
_ROUNDING = 1e-3  # rows of half precision sum to 1 only about so well
_COOLEST, _HOTTEST = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Scaling(ABC):
    """A map of probabilities over grades to calibrated ones."""

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Fit to held-out probabilities [n, G] and their true grades [n]."""

    @abstractmethod
    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Calibrated probabilities [n, G] of given ones [n, G]; n may be 0."""

    def record(self) -> dict[str, Any]:
        """As plain values for a specialist's file; `of` reads them back."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Identity(Scaling):
    """Probabilities as they are."""

    kind = "none"

    @classmethod
    def fit(cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Nothing to learn; the input is checked all the same."""
        graded(probabilities, labels)
        return cls()

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """What is given."""
        return distributions(probabilities)


@dataclass(frozen=True, slots=True)
class Temperature(Scaling):
    """softmax(log p / T) (Guo et al. 2017, section 4.2): T > 1 is less sure, the best grade stays."""

    temperature: float

    kind = "temperature"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"a temperature is above 0 and finite, not {self.temperature}")

    @classmethod
    def fit(cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """The T in [0.1, 10] of the least negative log-likelihood.

        It is convex in 1 / T, so the search over log T finds the only minimum. The bounds keep a
        small sample without mistakes from asking for certainty.
        """
        given, true = graded(probabilities, labels)
        logs, rows = _log(given), np.arange(len(given))

        def loss(log_temperature: float) -> float:
            scaled = log_softmax(logs / math.exp(log_temperature), axis=1)
            return -float(scaled[rows, true].mean())

        bounds = (math.log(_COOLEST), math.log(_HOTTEST))
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
        return cls(math.exp(float(found.x)))

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """All grades by one temperature."""
        scaled: Floats = softmax(_log(distributions(probabilities)) / self.temperature, axis=1)
        return scaled


@dataclass(frozen=True, slots=True)
class Vector(Scaling):
    """softmax(a · log p + b) with a weight and a bias of each grade [G] (Guo et al. 2017, 4.2)."""

    weights: tuple[float, ...]
    biases: tuple[float, ...]

    kind = "vector"

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.biases) or len(self.weights) < 2:
            raise ValueError(
                "vector scaling has a weight and a bias for each of two or more grades"
            )
        if not np.isfinite([self.weights, self.biases]).all():
            raise ValueError("a weight or bias of vector scaling is not finite")

    @classmethod
    def fit(cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike, penalty: float = 1.0) -> Self:
        """Minimise mean NLL + penalty / 2n · (|a - 1|² + |b|²), a convex function.

        The penalty, a Gaussian prior of variance 1 / penalty around the identity, weighs about as
        much as one example: a handful of examples moves little, many are as good as not penalised,
        and a grade that was never seen keeps a finite bias. Raises ConfigError where it is not
        above 0.
        """
        if not 0 < penalty < math.inf:
            raise ConfigError(f"penalty must be above 0, for example 1, not {penalty}")
        given, true = graded(probabilities, labels)
        logs, (n, grades) = _log(given), given.shape
        happened = np.eye(grades)[true]
        start = np.concatenate([np.ones(grades), np.zeros(grades)])

        def loss(parameters: Floats) -> tuple[float, Floats]:
            weights, biases = np.split(parameters, 2)
            scaled = log_softmax(logs * weights + biases, axis=1)
            off, away = (np.exp(scaled) - happened) / n, parameters - start
            slope = np.concatenate([(off * logs).sum(axis=0), off.sum(axis=0)])
            value = -float((happened * scaled).sum()) / n + penalty / 2 / n * float(away @ away)
            return value, slope + penalty / n * away

        # As tight as rounding allows: the default stops early where the loss is already small.
        options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-9}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
        weights, biases = np.split(found.x, 2)
        return cls(tuple(map(float, weights)), tuple(map(float, biases)))

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Each grade by its own weight and bias. Raises InputError for another number of grades."""
        given = _of_grades(probabilities, len(self.weights))
        return np.asarray(softmax(_log(given) * self.weights + self.biases, axis=1))


@dataclass(frozen=True, slots=True)
class Isotonic(Scaling):
    """A rising step curve for each grade against the rest, then rows brought to sum 1.

    Zadrozny & Elkan 2002: `curves` holds, for each grade, the points (p, calibrated p) that a line
    is drawn through, p rising. It wants more data than the others, may change the best grade, and
    may answer 0 or 1 where the held-out data never did otherwise.
    """

    curves: tuple[tuple[tuple[float, float], ...], ...]

    kind = "isotonic"

    def __post_init__(self) -> None:
        if len(self.curves) < 2:
            raise ValueError("isotonic calibration has a curve for each of two or more grades")
        for curve in self.curves:
            points = np.array(curve, dtype=np.float64)
            if points.ndim != 2 or points.shape[1] != 2:
                raise ValueError("a curve of isotonic calibration is a list of pairs of numbers")
            if not ((points >= 0) & (points <= 1)).all() or (np.diff(points, axis=0) < 0).any():
                raise ValueError("a curve of isotonic calibration must rise within [0, 1]")

    @classmethod
    def fit(cls, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Least squares among rising curves, by pooling adjacent violators."""
        given, true = graded(probabilities, labels)
        return cls(tuple(_rising(column, true == grade) for grade, column in enumerate(given.T)))

    def apply(self, probabilities: npt.ArrayLike) -> Floats:
        """Each grade by its curve. Raises InputError for another number of grades.

        A row to which every curve gives 0 stays as it was.
        """
        given = _of_grades(probabilities, len(self.curves))
        raised = np.stack(
            [
                np.interp(column, *np.array(curve).T)
                for column, curve in zip(given.T, self.curves, strict=True)
            ],
            axis=1,
        )
        total = raised.sum(axis=1, keepdims=True)
        return np.where(total > 0, raised / np.where(total > 0, total, 1), given)


_KINDS: dict[str, type[Scaling]] = {
    kind.kind: kind for kind in (Identity, Temperature, Vector, Isotonic)
}


def of(record: Any) -> Scaling:
    """The map that `record` was written from, also when it went through JSON.

    Raises SpecialistError where it is no such record.
    """
    try:
        given = {name: _plain(value) for name, value in dict(record).items()}
        return _KINDS[given.pop("kind")](**given)
    except (KeyError, TypeError, ValueError) as error:
        raise SpecialistError(
            f"the recorded calibration cannot be used ({error!r}); its kind is one of "
            f"{', '.join(_KINDS)}; restore the specialist or train it again"
        ) from error


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen map, fitted to all data, and each candidate's cross-validated NLL in nats."""

    scaling: Scaling
    nll: Mapping[str, float]


def choose(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: Sequence[Hashable] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Choice:
    """None, temperature or vector: whichever has the least cross-validated NLL, the simpler in a tie.

    `groups` [n] names what must not be split between folds, such as the question of a pair.
    Raises InputError where there are fewer examples or groups than folds, ConfigError for fewer
    than two folds.
    """
    given, true = graded(probabilities, labels)
    held_out = list(_folds(len(given), groups, folds, seed))
    losses = {}
    for candidate in (Identity, Temperature, Vector):
        crossed = np.empty_like(given)
        for fold in held_out:
            crossed[fold] = candidate.fit(given[~fold], true[~fold]).apply(given[fold])
        # Rows of low precision may pass 1 by a little, which no likelihood may.
        losses[candidate.kind] = nll(np.minimum(crossed, 1), true)
    best = min(losses, key=losses.__getitem__)  # the first of equals
    return Choice(_KINDS[best].fit(given, true), losses)


def distributions(probabilities: npt.ArrayLike) -> Floats:
    """Probabilities [n, G] as float64, checked as the head of this file says; n may be 0."""
    given = np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] < 2:
        raise InputError(
            f"probabilities must be of shape [n, grades] with two or more grades, not {given.shape}"
        )
    if not (np.isfinite(given) & (given >= 0)).all():
        raise InputError("probabilities must be finite and not negative; apply a softmax to logits")
    sums = given.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > _ROUNDING)
    if len(wrong):
        raise InputError(
            f"row {wrong[0]} of probabilities sums to {sums[wrong[0]]:g} instead of 1; "
            "apply a softmax to logits"
        )
    return given


def graded(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Labels]:
    """Probabilities [n, G] and true grades [n] to fit to, checked; n is at least 1."""
    given, true = distributions(probabilities), np.asarray(labels)
    if len(given) == 0:
        raise InputError("there is no example to fit to; give held-out probabilities and labels")
    if true.shape != given.shape[:1]:
        raise InputError(
            f"labels {true.shape} must be as many as the {len(given)} rows of probabilities"
        )
    if not np.isin(true, np.arange(given.shape[1])).all():
        raise InputError(f"labels must be grades from 0 to {given.shape[1] - 1}")
    return given, true.astype(np.int64)


def _of_grades(probabilities: npt.ArrayLike, grades: int) -> Floats:
    given = distributions(probabilities)
    if given.shape[1] != grades:
        raise InputError(
            f"the calibration is of {grades} grades, the probabilities of {given.shape[1]}; "
            "use the calibration that was fitted to this grader"
        )
    return given


def _log(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _SMALLEST))


def _rising(x: Floats, happened: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Points of the rising curve closest to `happened` [n] over `x` [n], each block by its ends."""
    places, which = np.unique(x, return_inverse=True)
    sizes = np.bincount(which)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many places
    for mean, size in zip(np.bincount(which, weights=happened) / sizes, sizes, strict=True):
        block = (float(mean), float(size), 1)
        while blocks and blocks[-1][0] >= block[0]:
            below, weight, count = blocks.pop()
            total = weight + block[1]
            block = ((below * weight + block[0] * block[1]) / total, total, count + block[2])
        blocks.append(block)
    points: list[tuple[float, float]] = []
    start = 0
    for mean, _, count in blocks:
        for place in sorted({start, start + count - 1}):
            points.append((float(places[place]), mean))
        start += count
    return tuple(points)


def _folds(
    n: int, groups: Sequence[Hashable] | None, folds: int, seed: int
) -> Iterator[npt.NDArray[np.bool_]]:
    """Which examples [n] are held out, fold by fold."""
    if folds < 2:
        raise ConfigError(f"folds must be at least 2, not {folds}")
    names = range(n) if groups is None else groups
    if len(names) != n:
        raise InputError(f"there are {n} examples but {len(names)} groups: name one for each")
    which = numbered(names)
    count = int(which.max(initial=-1)) + 1
    if count < folds:
        raise InputError(
            f"{count} groups cannot be split into {folds} folds; use fewer folds or more data"
        )
    fold_of = np.random.default_rng(seed).permutation(count)[which] % folds
    for fold in range(folds):
        yield fold_of == fold


def _plain(value: Any) -> Any:
    """What JSON made of a field: lists are tuples again, numbers floats; all else is refused but text."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{value!r} is neither a number nor a list of numbers")
    return value if isinstance(value, str) else float(value)
