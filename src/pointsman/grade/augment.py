"""Which samples of an unlabelled pool to have labelled, so that what training left out is covered.

DaRL (arXiv 2412.12504, DASA) takes samples whose distance to the training samples lies in a window:
above a lower cut-off they are out of distribution, above an upper one too far from the task. The
cut-offs are quantiles of the training samples' own distances, each measured without itself, as the
pool's samples are (`pointsman.grade.acquire`). Inside the windows a
strategy says in what order. m samples in the pool, n training samples, d dimensions, G grades.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2
from scipy.special import entr
from scipy.stats import rankdata

from pointsman.errors import ConfigError, InputError
from pointsman.grade.distance import checked, nearest_neighbour_distance, neighbour_distances
from pointsman.grade.scaling import distributions
from pointsman.products import product

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Hacohen et al.'s: neighbours that typicality is measured by, and clusters at most.
_NEIGHBOURS = 20
_MOST_CLUSTERS = 500


@dataclass(frozen=True, slots=True)
class Window:
    """The distances above `lower` and up to `upper`, in the unit of the distances."""

    lower: float
    upper: float = np.inf

    def inside(self, distances: npt.ArrayLike) -> Mask:
        """Which of the distances [m] lie inside."""
        given = np.asarray(distances, dtype=np.float64)
        return np.asarray((given > self.lower) & (given <= self.upper))

    def gap(self, distances: npt.ArrayLike) -> Floats:
        """How far each of the distances [m] lies from the window; 0 inside and on its edges."""
        given = np.asarray(distances, dtype=np.float64)
        return np.maximum(np.maximum(self.lower - given, given - self.upper), 0)

    def __str__(self) -> str:
        return f"above {self.lower:.4g}" + (
            f" up to {self.upper:.4g}" if np.isfinite(self.upper) else ""
        )


def window(train_distances: npt.ArrayLike, q_low: float, q_high: float | None = None) -> Window:
    """Between two quantiles of the training samples' own distances [n]; no upper cut-off for None.

    Raises InputError for no distances or some that are NaN or infinite, ConfigError unless
    0 <= q_low < q_high <= 1.
    """
    if not 0 <= q_low <= 1:
        raise ConfigError(f"q_low is a quantile between 0 and 1, not {q_low}")
    if q_high is not None and not q_low < q_high <= 1:
        raise ConfigError(f"q_high is a quantile above q_low ({q_low}) and up to 1, not {q_high}")
    given = _distances("the training samples", train_distances)
    if len(given) == 0:
        raise InputError("there are no training distances to take quantiles of; give some")
    lower = float(np.quantile(given, q_low))
    return Window(lower) if q_high is None else Window(lower, float(np.quantile(given, q_high)))


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What is known of `size` = m unlabelled samples; a strategy asks for what it needs.

    `distances` are arrays [m], each with its window in `windows` (or no windows at all);
    `probabilities` [m, G] a model's; `features` [m, d] of the pool and `train` [n, d] of the
    training samples; `queries` [m] names the query of each sample.
    """

    size: int
    distances: Sequence[npt.ArrayLike] = ()
    windows: Sequence[Window] = ()
    probabilities: npt.ArrayLike | None = None
    features: npt.ArrayLike | None = None
    train: npt.ArrayLike | None = None
    queries: npt.ArrayLike | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """`indices` [at most budget] into the pool, best first; `inside` of them lie in all windows.

    `note` says in one line what a user should know of the windows, and is empty otherwise.
    """

    indices: Places
    inside: int
    note: str = ""


def pick(
    pool: Pool,
    budget: int,
    strategy: str,
    *,
    per_query: int | None = None,
    whole_queries: bool = False,
    seed: int = 0,
) -> Picked:
    """`budget` samples by one of `STRATEGIES`, from inside all windows; the same for the same seed.

    - "random"; what ties in another strategy is in random order as well.
    - "entropy": the largest -Σ_g p_g log p_g first. "margin": the smallest p_1 - p_2 of the two
      likeliest grades first.
    - "distance": the largest mean of its ranks by each of the pool's distances first.
    - "coverage": greedy k-centre (Sener & Savarese, arXiv 1708.00489, algorithm 1): always the
      sample farthest from all training samples and samples taken. Time O(budget · m · d) after the
      distances to the training samples, memory O(m · d).
    - "typicality", for low budgets (Hacohen et al., arXiv 2202.02794, equation 4): k-means clusters
      of what lies inside, as many as the budget and 500 at most, in turn from the largest; of each
      the sample with the smallest mean distance to its 20 nearest neighbours there. The authors
      cluster the training samples too, to leave out what those cover; here the windows do.

    Where the windows hold fewer than the budget asks for, the samples nearest to them fill it up,
    the smallest mean rank of their gaps first. At most `per_query` samples are taken of a query. With
    `whole_queries` a sample brings all others of its query along, inside or not, and a query that
    the rest of the budget cannot hold is passed over. Without it exactly min(budget, what the cap
    allows) samples are picked.

    Raises InputError for an empty pool, arrays of other lengths than the pool, numbers that are no
    distances, features or probabilities, for windows that hold nothing, and for a budget that holds
    no whole query; ConfigError for a budget or cap below 1, an unknown strategy, one whose arrays
    the pool does not have, and a cap or whole queries without queries or together.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
    if budget < 1:
        raise ConfigError(f"the budget must be at least 1 sample, not {budget}")
    if pool.size < 1:
        raise InputError("the pool is empty; give samples to pick from")
    distances = [_distances("the pool", given, pool.size) for given in pool.distances]
    inside = _inside(pool, distances)
    shape = _shape(distances, pool.windows)
    if not inside.any():
        raise InputError(
            f"none of {pool.size} samples lies inside the windows, {shape}; widen a window"
        )
    rng = np.random.default_rng(seed)
    basket = _Basket(pool, budget, per_query, whole_queries)
    STRATEGIES[strategy](pool, np.flatnonzero(inside), basket, rng)
    if not inside.all():
        outside = np.flatnonzero(~inside)
        pairs = zip(distances, pool.windows, strict=True)
        gaps = _mean_rank([window.gap(given[outside]) for given, window in pairs])
        basket.fill(outside[_best_first(-gaps, rng)])
    if not basket.picked:
        raise InputError(f"no query of the pool has {budget} samples or fewer; raise the budget")
    indices = np.array(basket.picked, dtype=np.int64)
    held = int(inside[indices].sum())
    note = ""
    if pool.windows and inside.all():
        note = f"all {pool.size} samples lie inside the windows, {shape}"
    elif held < len(indices):
        note = f"{len(indices) - held} of {len(indices)} picked lie outside the windows, {shape}"
    return Picked(indices, held, note)


class _Basket:
    """What has been picked, and what may still be: no sample twice, none beyond budget or cap."""

    def __init__(
        self, pool: Pool, budget: int, per_query: int | None = None, whole_queries: bool = False
    ) -> None:
        self.picked: list[int] = []
        self.left = budget
        self.shut: Mask = np.zeros(pool.size, dtype=np.bool_)
        self._whole = whole_queries
        self._query = _query_numbers(pool, per_query, whole_queries)
        counts = np.bincount(self._query)
        self._room = np.full(len(counts), per_query or 1)
        # A query's samples stand together in `order`, from `starts` on.
        self._order = np.argsort(self._query, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def fill(self, order: Iterable[int]) -> None:
        """Takes of an order, best first, what may be taken."""
        for index in order:
            if not self.left:
                return
            self.take(int(index))

    def take(self, index: int) -> list[int]:
        """What has been taken by asking for a sample: it, with its query's others, or nothing."""
        if self.shut[index] or not self.left:
            return []
        query = self._query[index]
        members = self._order[self._starts[query] : self._starts[query + 1]]
        self._room[query] -= 1
        self.shut[members if self._room[query] == 0 else index] = True
        others = members[members != index].tolist() if self._whole else []
        if len(others) >= self.left:
            return []
        taken = [index, *others]
        self.picked += taken
        self.left -= len(taken)
        return taken


def _query_numbers(pool: Pool, per_query: int | None, whole_queries: bool) -> Places:
    """The number of each sample's query [m]; where queries do not count, each is its own."""
    if per_query is None and not whole_queries:
        return np.arange(pool.size)
    if per_query is not None and whole_queries:
        raise ConfigError("whole queries cannot be capped; give per_query or whole_queries")
    if per_query is not None and per_query < 1:
        raise ConfigError(f"per_query must be at least 1 sample, not {per_query}")
    names = np.asarray(_needed("queries", pool.queries))
    if names.shape != (pool.size,):
        raise InputError(f"queries {names.shape} must be as many as the {pool.size} samples")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


# --- strategies -----------------------------------------------------------------------------------

Strategy = Callable[[Pool, Places, _Basket, np.random.Generator], None]


def _by(score: Callable[[Pool, Places], Floats]) -> Strategy:
    """The largest score [candidates] first."""

    def strategy(pool: Pool, candidates: Places, basket: _Basket, rng: np.random.Generator) -> None:
        basket.fill(candidates[_best_first(score(pool, candidates), rng)])

    return strategy


def _entropy(pool: Pool, candidates: Places) -> Floats:
    return np.asarray(entr(_probabilities(pool)[candidates]).sum(axis=1))


def _small_margin(pool: Pool, candidates: Places) -> Floats:
    ordered = np.sort(_probabilities(pool)[candidates], axis=1)
    return np.asarray(ordered[:, -2] - ordered[:, -1])


def _distance(pool: Pool, candidates: Places) -> Floats:
    if len(pool.distances) == 0:
        raise _lacking("distances")
    return _mean_rank([np.asarray(given)[candidates] for given in pool.distances])


def _coverage(pool: Pool, candidates: Places, basket: _Basket, rng: np.random.Generator) -> None:
    features = _features(pool)
    squares = np.square(features).sum(axis=1)
    uncovered = np.full(pool.size, np.inf)
    if pool.train is not None and len(train := checked("the training features", pool.train)):
        uncovered = np.square(nearest_neighbour_distance(train, features, 1, normalise=False))
    free = rng.permutation(candidates)  # of equally far ones the first is taken
    while basket.left and len(free := free[~basket.shut[free]]):
        for taken in basket.take(int(free[uncovered[free].argmax()])):
            np.minimum(uncovered, _squared(features, squares, taken), out=uncovered)


def _typicality(pool: Pool, candidates: Places, basket: _Basket, rng: np.random.Generator) -> None:
    candidates = rng.permutation(candidates)  # of equally typical ones the first is taken
    features = _features(pool)[candidates]
    clusters = [
        candidates[members[_by_typicality(features[members])]]
        for members in _clusters(features, min(basket.left, _MOST_CLUSTERS), rng)
    ]
    queues = [iter(cluster.tolist()) for cluster in sorted(clusters, key=len, reverse=True)]
    while basket.left and queues:
        # A turn is a cluster's most typical sample that may be taken; without one it is done.
        queues = [queue for queue in queues if any(basket.take(index) for index in queue)]


STRATEGIES: Mapping[str, Strategy] = {
    "random": _by(lambda pool, candidates: np.zeros(len(candidates))),
    "entropy": _by(_entropy),
    "margin": _by(_small_margin),
    "distance": _by(_distance),
    "coverage": _coverage,
    "typicality": _typicality,
}


def _best_first(scores: Floats, rng: np.random.Generator) -> Places:
    """The order of scores [n] from the largest, equal ones at random: a pool's order may mean much."""
    shuffled = rng.permutation(len(scores))
    return np.asarray(shuffled[np.argsort(-scores[shuffled], kind="stable")])


def _mean_rank(columns: Sequence[Floats]) -> Floats:
    """The mean of each place's ranks in the columns [n], 1 for the smallest; equal ones share theirs."""
    return np.asarray(np.mean([rankdata(column) for column in columns], axis=0))


def _squared(features: Floats, squares: Floats, index: int) -> Floats:
    """Squared distances [m] of all features [m, d], with their squared norms [m], to one of them."""
    along = product(features, features[index][:, None])[:, 0]
    return np.asarray(np.maximum(squares + squares[index] - 2 * along, 0))


def _clusters(features: Floats, count: int, rng: np.random.Generator) -> list[Places]:
    """The members of at most `count` k-means clusters of features [n, d], none empty.

    Seeds are k-means++ (Arthur & Vassilvitskii 2007); SciPy's own take time in count².
    """
    squares = np.square(features).sum(axis=1)
    seeds = [int(rng.integers(len(features)))]
    gap = _squared(features, squares, seeds[0])
    while len(seeds) < count and (total := gap.sum()) > 0:
        seeds.append(int(rng.choice(len(features), p=gap / total)))
        np.minimum(gap, _squared(features, squares, seeds[-1]), out=gap)
    with warnings.catch_warnings():  # of a cluster that lost its last member: it is left out below
        warnings.simplefilter("ignore", UserWarning)
        _, labels = kmeans2(features, features[seeds], minit="matrix")
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, starts)


def _by_typicality(members: Floats) -> Places:
    """The order of a cluster's features [n, d], the smallest mean distance to its neighbours first."""
    if len(members) == 1:
        return np.zeros(1, dtype=np.int64)
    near = neighbour_distances(
        members, members, min(_NEIGHBOURS, len(members) - 1), leave_one_out=True
    )
    return np.asarray(np.argsort(near.mean(axis=1), kind="stable"))


# --- what is handed in ----------------------------------------------------------------------------


def _needed(what: str, given: npt.ArrayLike | None) -> npt.ArrayLike:
    if given is None:
        raise _lacking(what)
    return given


def _lacking(what: str) -> ConfigError:
    return ConfigError(f"what is asked for needs {what}; give them to the pool")


def _probabilities(pool: Pool) -> Floats:
    given = distributions(_needed("probabilities", pool.probabilities))
    _refuse_other_length("probabilities", len(given), pool.size)
    return given


def _features(pool: Pool) -> Floats:
    given = checked("the pool's features", _needed("features", pool.features))
    _refuse_other_length("features", len(given), pool.size)
    return given


def _distances(whose: str, values: npt.ArrayLike, size: int | None = None) -> Floats:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1:
        raise InputError(f"distances of {whose} must be of shape [samples], not {given.shape}")
    if size is not None:
        _refuse_other_length("distances", len(given), size)
    wrong = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
    if len(wrong):
        raise InputError(
            f"distance {wrong[0]} of {whose} is {given[wrong[0]]:g}; distances are finite and not "
            "negative, unlike similarities"
        )
    return given


def _refuse_other_length(what: str, length: int, size: int) -> None:
    if length != size:
        raise InputError(f"{length} rows of {what} for a pool of {size} samples; give one each")


def _inside(pool: Pool, distances: Sequence[Floats]) -> Mask:
    """Which samples of the pool lie inside all windows [m]."""
    if pool.windows and len(pool.windows) != len(distances):
        raise ConfigError(
            f"{len(distances)} arrays of distances have {len(pool.windows)} windows; "
            "give each its own, or none at all"
        )
    inside = np.ones(pool.size, dtype=np.bool_)
    for given, window in zip(distances, pool.windows, strict=False):
        inside &= window.inside(given)
    return inside


def _shape(distances: Sequence[Floats], windows: Sequence[Window]) -> str:
    """Each window beside the distances' minimum, quartiles and maximum."""
    return " and ".join(
        f"{window} of distances "
        + "/".join(f"{value:.4g}" for value in np.quantile(given, [0, 0.25, 0.5, 0.75, 1]))
        + " (minimum/quartiles/maximum)"
        for given, window in zip(distances, windows, strict=False)
    )
