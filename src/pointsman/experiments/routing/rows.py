"""The rows of the routing table: bounds, controls, the paper's router and its rivals, and ours.

Every row is a function from a view to the nDCG@10 of its queries. A row is built from training
queries (with cross-fitted vectors) and, where something is chosen, from dev; none sees test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from pointsman.collection.judged import Documents
from pointsman.experiments.routing.views import View
from pointsman.route.familiarity import Domain
from pointsman.route.mixture import MixtureRouter
from pointsman.route.pilots import Pilots, Reduce, best_experts, make_pilots
from pointsman.route.plain import BASE
from pointsman.route.rivals import classification_head, expert_classifiers
from pointsman.route.router import KnnRouter, PilotRouter, VectorRouter
from pointsman.route.whitening import whitening
from pointsman.types import FloatArray

_Scores = npt.NDArray[np.float64]

Way = Literal["one encode", "two encodes", "every encode", "one pass"]
"""How a query becomes a vector, which is what routing costs. Two encodes: the base's vector chooses
the expert that embeds the query again. Every encode: all experts' vectors are there to be mixed."""

PILOTS = (1, 2, 5, 10)
REDUCE: tuple[Reduce, ...] = ("mean", "max")
SHARES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `kind` is bound, control, paper, rival or ours; `corpus` marks a row
    that looks at the collection's documents, which betray the data set.

    `queries` gives the vectors [n, d] that the collection is searched with, and `way` how they come
    about; None where a row is no way of searching, but a bound or an expectation.
    """

    name: str
    kind: str
    scores: Callable[[View], _Scores]
    corpus: bool = False
    queries: Callable[[View], FloatArray] | None = None
    way: Way | None = None


def choosing(
    name: str,
    kind: str,
    choice: Callable[[View], npt.NDArray[np.int64]],
    way: Way | None = "two encodes",
) -> Row:
    """A row that sends each query to one expert [n], whose scores are known already."""

    def scores(view: View) -> _Scores:
        return np.asarray(view.utilities[np.arange(len(view.judged)), choice(view)])

    def queries(view: View) -> FloatArray:
        return np.asarray(view.vectors[np.arange(len(view.judged)), choice(view)])

    return Row(name, kind, scores, queries=queries, way=way)


def searching(
    name: str,
    kind: str,
    queries: Callable[[View], FloatArray],
    way: Way,
    corpus: bool = False,
) -> Row:
    """A row that searches with vectors of its own."""
    return Row(name, kind, lambda view: view.score(queries(view)), corpus, queries, way)


@dataclass(frozen=True, eq=False)
class Known:
    """What rows may be built from: the experts in order, and their sets' train and dev views."""

    experts: tuple[str, ...]
    train: Mapping[str, View]
    dev: Mapping[str, View]
    domains: Mapping[str, Domain]

    @property
    def names(self) -> tuple[str, ...]:
        """The base and the experts, as routers name them."""
        return (BASE, *self.experts)

    def vectors(self) -> FloatArray:
        """The base vectors of all training queries, set after set."""
        return np.concatenate([self.train[name].base for name in self.experts])

    def best(self) -> npt.NDArray[np.int64]:
        """The best expert of every training query, in the same order."""
        return np.concatenate([best_experts(self.train[name].utilities) for name in self.experts])


def controls(known: Known) -> list[Row]:
    """The base, random choice, the best single expert, and the oracles."""
    means = [
        float(np.mean([view.utilities[:, j].mean() for view in known.dev.values()]))
        for j in range(len(known.names))
    ]
    single = int(np.argmax(means))
    share = best_share(known)
    return [
        _always("base", "control", 0),
        Row("random expert (expected)", "control", lambda view: view.utilities.mean(axis=1)),
        _always(f"best single on dev ({known.names[single]})", "control", single),
        dataset_oracle(),
        Row("InstanceOracle", "bound", lambda view: view.utilities.max(axis=1)),
        searching(
            f"own expert, {share:g} of it with the base",
            "bound",
            lambda view: own_mixture(known, view, share),
            "two encodes",
        ),
    ]


def dataset_oracle() -> Row:
    """The expert, or the base, that is best on the whole of a set (by its test scores)."""

    def best(view: View) -> npt.NDArray[np.int64]:
        return np.full(len(view.judged), view.utilities.mean(axis=0).argmax())

    return choosing("DatasetOracle", "bound", best, way=None)


def own_mixture(known: Known, view: View, share: float) -> FloatArray:
    """The base mixed with the set's own expert, by an oracle of the set; the base where it has none."""
    weights = np.zeros((len(view.judged), len(known.names)))
    weights[:, 0] = 1.0
    if view.set in known.experts:
        weights[:, 0] = 1 - share
        weights[:, known.names.index(view.set)] = share
    return view.mixed(weights)


def best_share(known: Known) -> float:
    """The own expert's share that is best on dev over all sets: one for all."""

    def mean(share: float) -> float:
        scores = [view.score(own_mixture(known, view, share)) for view in known.dev.values()]
        return float(np.mean([each.mean() for each in scores]))

    return max(SHARES, key=mean)


def paper_router(known: Known, seed: int = 0) -> Row:
    """RouterRetriever as the paper has it: one pilot a group, the highest mean similarity."""
    return _pilots(known, seed, 1, "mean")


def paper(known: Known, seed: int = 0) -> list[Row]:
    """RouterRetriever with its pilot library, and its rivals (appendix A.1)."""
    rows = [_pilots(known, seed, k, reduce) for k in PILOTS for reduce in REDUCE]
    rows.append(_chosen("pilots without the base", "paper", _without_base(known, seed)))
    vectors, best = known.vectors(), known.best()
    own = np.concatenate(
        [np.full(len(known.train[name].judged), known.names.index(name)) for name in known.experts]
    )
    rows += [
        _chosen(
            "ClassificationHeadRouter", "rival", classification_head(known.names, vectors, best)
        ),
        _chosen("ExpertClassifierRouter", "rival", expert_classifiers(known.names, vectors, best)),
        _chosen("DatasetRouter", "rival", classification_head(known.names, vectors, own)),
        _chosen("one centroid a domain", "control", _centroids(known)),
    ]
    utilities = np.concatenate([known.train[name].utilities for name in known.experts])
    k = best_neighbours(known, vectors, utilities)
    rows.append(
        _chosen(
            f"kNN over utilities, k = {k}", "control", KnnRouter(known.names, vectors, utilities, k)
        )
    )
    return rows


def paper_library(known: Known, seed: int = 0, k: int = 1) -> Pilots:
    """The paper's pilots: k centroids of each group of training queries with one best expert."""
    sets = [(known.train[name].base, known.train[name].utilities) for name in known.experts]
    return make_pilots(sets, k, seed)


def _pilots(known: Known, seed: int, k: int, reduce: Reduce) -> Row:
    router = PilotRouter(known.names, paper_library(known, seed, k), reduce)
    return _chosen(f"pilots, {reduce}, k = {k}", "paper", router)


def best_neighbours(known: Known, vectors: FloatArray, utilities: _Scores) -> int:
    """The k of nearest neighbours that is best on dev."""

    def mean(k: int) -> float:
        router = KnnRouter(known.names, vectors, utilities, k)
        row = _chosen("", "", router)
        return float(np.mean([row.scores(view).mean() for view in known.dev.values()]))

    return max((8, 16, 32, 64, 128), key=mean)


def ours(router: MixtureRouter, strength: float) -> list[Row]:
    """The mixture by familiarity, the whitened query, and both."""
    return [
        searching("familiarity mixture", "ours", lambda view: view.routed(router), "every encode"),
        searching(
            "base, whitened",
            "ours",
            lambda view: whitened(view, view.base, strength),
            "one encode",
            corpus=True,
        ),
        searching(
            "familiarity mixture, whitened",
            "ours",
            lambda view: whitened(view, view.routed(router), strength),
            "every encode",
            corpus=True,
        ),
    ]


def whitened(view: View, queries: FloatArray, strength: float) -> FloatArray:
    """The queries fitted to the view's documents."""
    return np.asarray(queries @ _whitening(view.documents, strength), dtype=np.float32)


@lru_cache(maxsize=32)
def _whitening(documents: Documents, strength: float) -> FloatArray:
    """A collection's matrix, once for all rows and parts that ask it."""
    return whitening(documents.vectors, strength)


def _always(name: str, kind: str, expert: int) -> Row:
    return choosing(name, kind, lambda view: np.full(len(view.judged), expert), "one encode")


def _chosen(name: str, kind: str, router: VectorRouter) -> Row:
    """The row of a router that sends each query to one expert."""
    return choosing(name, kind, lambda view: router.scores(view.base).argmax(axis=1))


def _without_base(known: Known, seed: int) -> PilotRouter:
    """The paper's router without a general expert: instances go to the best of the others."""
    sets = []
    for name in known.experts:
        view = known.train[name]
        others = view.utilities.copy()
        others[:, 0] = -1.0
        sets.append((view.base, others))
    return PilotRouter(known.names, make_pilots(sets, 1, seed))


def _centroids(known: Known) -> PilotRouter:
    """Each domain's one centroid, of unit length, speaks for its own expert."""
    means = np.stack([known.train[name].base.mean(axis=0) for name in known.experts])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return PilotRouter(
        known.names, Pilots(means.astype(np.float32), np.arange(1, len(known.names)))
    )


def leave_one_out(known: Known, name: str) -> Known:
    """What would be known without one domain and its expert: its own queries are then unseen."""
    return only(known, [expert for expert in known.experts if expert != name])


def only(known: Known, experts: Sequence[str]) -> Known:
    """What would be known with these experts alone; the other sets' queries are there, unseen."""
    columns = places(known, experts)
    return Known(
        tuple(experts),
        {name: view.only(columns) for name, view in known.train.items()},
        {name: view.only(columns) for name, view in known.dev.items()},
        {name: known.domains[name] for name in experts},
    )


def places(known: Known, experts: Sequence[str]) -> list[int]:
    """Where the base and these experts stand among a view's vectors."""
    return [0, *(1 + known.experts.index(name) for name in experts)]
