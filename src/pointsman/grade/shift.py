"""Label shift: other shares of the grades than in training, estimated without labels and corrected.

Saerens, Latinne & Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori
probabilities". It holds where passages of a grade look as they did in training and only the shares
of the grades have changed, and for calibrated probabilities; others are corrected wrongly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from pointsman.errors import ConfigError, InputError
from pointsman.grade.scaling import distributions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Shifted:
    """What the new population looks like: its `prior` [G] and corrected `probabilities` [n, G].

    `log_likelihood` [steps + 1] is the new probabilities' log-likelihood ratio against "no shift",
    summed over the population, 0 before the first step; `converged` says that the prior had stopped
    moving.
    """

    prior: Floats
    probabilities: Floats
    log_likelihood: Floats
    converged: bool

    @property
    def p_value(self) -> float:
        """Of no shift, by the likelihood-ratio test (section 2.3), for n independent examples."""
        statistic = 2 * max(0.0, float(self.log_likelihood[-1]))
        return float(chdtrc(len(self.prior) - 1, statistic))


def estimate(
    probabilities: npt.ArrayLike,
    prior: npt.ArrayLike,
    tolerance: float = 1e-6,
    steps: int = 1000,
) -> Shifted:
    """The new prior by EM, from where training was, and the probabilities under it.

    `probabilities` [n, G] are those of a model trained at `prior` [G]. E-step: `reweighted`
    (equation 2.4); M-step: the mean over the population; until no share moves by more than
    `tolerance`, or `steps` are done. Raises InputError for probabilities that are none, for no
    rows, and for a prior that is none, of another length or without one of the grades; ConfigError
    for a tolerance or steps that are not above 0.
    """
    if not 0 < tolerance < math.inf or steps < 1:
        raise ConfigError(
            f"tolerance must be above 0 and steps at least 1, not {tolerance} and {steps}"
        )
    given = distributions(probabilities)
    if len(given) == 0:
        raise InputError("a shift cannot be estimated from no probabilities; give some")
    old = new = _prior("the training prior", prior, given.shape[1])
    _refuse_absent(old)
    corrected, likelihoods, converged = given, [0.0], False
    while not converged and len(likelihoods) <= steps:
        before, new = new, corrected.mean(axis=0)
        new = new / new.sum()
        converged = bool(np.abs(new - before).max() <= tolerance)
        likelihoods.append(float(np.log(given @ (new / old)).sum()))
        corrected = reweighted(given, old, new)
    return Shifted(new, corrected, np.array(likelihoods), converged)


def reweighted(probabilities: npt.ArrayLike, old: npt.ArrayLike, new: npt.ArrayLike) -> Floats:
    """Probabilities [n, G] of a model trained at the prior `old` [G], under the prior `new` [G].

    p'(c | x) ∝ p(c | x) · new_c / old_c (equation 2.4). A row whose every possible grade has a new
    prior of 0 becomes the new prior. Raises InputError as `estimate` does.
    """
    given = distributions(probabilities)
    before = _prior("the training prior", old, given.shape[1])
    after = _prior("the new prior", new, given.shape[1])
    _refuse_absent(before)
    weighted = given * (after / before)
    total = weighted.sum(axis=1, keepdims=True)
    return np.where(total > 0, weighted / np.where(total > 0, total, 1), after)


def _prior(name: str, values: npt.ArrayLike, grades: int) -> Floats:
    prior = np.asarray(values, dtype=np.float64)
    if prior.shape != (grades,):
        raise InputError(f"{name} must hold {grades} shares, one a grade, not {prior.shape}")
    if not (np.isfinite(prior) & (prior >= 0)).all():
        raise InputError(f"{name} must be finite and not negative")
    if abs(prior.sum() - 1) > 1e-3:
        raise InputError(f"{name} sums to {prior.sum():g} instead of 1")
    return prior


def _refuse_absent(prior: Floats) -> None:
    absent = np.flatnonzero(prior == 0)
    if len(absent):
        raise InputError(
            f"grade {absent[0]} was absent from training: its share elsewhere cannot be learned "
            "from this model; leave the grade out, or train with examples of it"
        )
