"""Is it label shift? The shares of grades that explain a population best, and a test whether any do.

Where only the shares of the grades have changed, the scores of the population are a mixture of the
scores that each grade has on labelled examples. To find the shares of that mixture needs no
calibrated probabilities (black-box shift estimation: Lipton, Wang & Smola 2018, section 3); with more
bins of scores than grades something is left to test them by (the J test: Hansen 1982). Where the test
fails, passages of a grade no longer look as they did, and probabilities are better left as they are:
grades that overlap are corrected wrongly without bound.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import chdtrc, log_softmax, softmax

from pointsman.errors import ConfigError, InputError
from pointsman.evaluate.groups import numbered
from pointsman.grade.scaling import distributions, graded

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 10
STRENGTH = 10.0
_ROUNDS = 4  # of weighing the bins by the mixture found; the shares stop moving after two or three


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Shares of the grades `prior` [G] that explain a population best, and how badly they do.

    `statistic` is chi-square with `freedom` degrees where the population is a mixture of the grades
    as they were labelled.
    """

    prior: Floats
    statistic: float
    freedom: int

    @property
    def p_value(self) -> float:
        """Of a fit as bad, were only the shares different: a small one says that there is more to it."""
        return float(chdtrc(self.freedom, self.statistic))


def explain(
    labelled: npt.ArrayLike,
    labels: npt.ArrayLike,
    population: npt.ArrayLike,
    *,
    labelled_groups: Sequence[Hashable] | None = None,
    population_groups: Sequence[Hashable] | None = None,
    bins: int = BINS,
    strength: float = STRENGTH,
) -> Mixture:
    """The mixture of grades that explains `population`, what a grader says of it [n, G].

    `labelled` [m, G] is what it says of held-out examples with `labels` [m]. Examples of a group,
    such as a query's, may resemble each other: the test takes groups, not examples, for independent;
    without groups every example is one of its own. Scores are expected grades, in `bins` of equally
    many labelled examples. The labelled shares count as a Dirichlet prior worth `strength` examples,
    which decides where grades overlap too much to be told apart. Raises InputError for
    probabilities that are none, a grade that is not among `labels`, no population and groups of
    another length; ConfigError for bins that are not more than the grades and a strength that is not
    above 0.
    """
    known, grades = graded(labelled, labels)
    given = distributions(population)
    if len(given) == 0 or given.shape[1] != known.shape[1]:
        raise InputError(
            f"the population must hold probabilities of {known.shape[1]} grades, not {given.shape}"
        )
    count = known.shape[1]
    absent = np.flatnonzero(np.bincount(grades, minlength=count) == 0)
    if len(absent):
        raise InputError(f"no labelled example has grade {absent[0]}; its scores are not known")
    if bins <= count:
        raise ConfigError(f"there must be more bins than the {count} grades, not {bins}")
    if not 0 < strength < math.inf:
        raise ConfigError(f"strength must be above 0, not {strength}")
    scores = known @ np.arange(count)
    edges = np.unique(np.quantile(scores, np.arange(1, bins) / bins))
    # The last bin follows from the others.
    of_known, of_given = (
        np.eye(len(edges) + 1)[np.searchsorted(edges, said @ np.arange(count))][:, :-1]
        for said in (known, given)
    )
    own, others = (
        _groups(names, len(said))
        for names, said in ((labelled_groups, known), (population_groups, given))
    )
    shares = np.stack([of_known[grades == g].mean(axis=0) for g in range(count)], axis=1)
    target = of_given.mean(axis=0)
    spread = _scatter((of_given - target) / len(given), others)
    sizes = np.bincount(grades, minlength=count)
    prior = sizes / sizes.sum()
    pseudo = strength * prior
    for _ in range(_ROUNDS):
        weights = (prior / sizes)[grades][:, None]
        covariance = spread + _scatter((of_known - shares.T[grades]) * weights, own)
        precision = np.linalg.pinv(covariance, hermitian=True).astype(np.float64)
        prior, misfit = _nearest(shares, target, precision, pseudo)
    rank = int(np.linalg.matrix_rank(covariance, hermitian=True))
    return Mixture(prior, misfit, max(1, rank - (count - 1)))


def _nearest(
    shares: Floats, target: Floats, precision: Floats, pseudo: Floats
) -> tuple[Floats, float]:
    """The prior that a Dirichlet of `pseudo` counts and the bins prefer, and the misfit of the bins."""

    def misfit(prior: Floats) -> float:
        off = target - shares @ prior
        return float(off @ precision @ off)

    def loss(logits: Floats) -> tuple[float, Floats]:
        log_prior = log_softmax(logits)
        prior = np.exp(log_prior)
        slope = -2 * shares.T @ precision @ (target - shares @ prior) * prior - 2 * pseudo
        return misfit(prior) - 2 * pseudo @ log_prior, slope - prior * slope.sum()

    start = np.log(pseudo)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    prior = softmax(found.x)
    return prior, misfit(prior)


def _scatter(influence: Floats, groups: Ints) -> Floats:
    """The covariance of a sum of influences [n, b] whose groups are independent."""
    summed = np.zeros((int(groups.max()) + 1, influence.shape[1]))
    np.add.at(summed, groups, influence)
    return summed.T @ summed


def _groups(names: Sequence[Hashable] | None, size: int) -> Ints:
    if names is None:
        return np.arange(size)
    if len(names) != size:
        raise InputError(f"{size} examples need as many groups, not {len(names)}")
    return numbered(names)
