"""What the routers choose among: every query's vector under every expert, and what each is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.vectors import kept_vectors
from pointsman.collection.judged import Documents, Judged
from pointsman.data.arrays import ArrayCache
from pointsman.experiments.routing.bed import RoutingSet
from pointsman.experiments.routing.experts import BedExpert, Trained
from pointsman.route.mixture import MixtureRouter
from pointsman.route.utility import utilities
from pointsman.types import FloatArray

_Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """One part of one set: its queries, their vectors [n, 1 + experts, d], the base's first, and the
    `features` [n, width] that the lower layers give.

    Where the part is what an expert was trained on, its vectors are those of the half that has not
    seen the query.
    """

    set: str
    documents: Documents
    judged: Sequence[Judged]
    vectors: FloatArray
    features: FloatArray

    @property
    def base(self) -> FloatArray:
        """The base's vectors [n, d]: what a router may look at."""
        return self.vectors[:, 0]

    @cached_property
    def utilities(self) -> _Scores:
        """nDCG@10 [n, 1 + experts] of every query under every expert."""
        return utilities(
            self.documents,
            self.judged,
            [np.ascontiguousarray(self.vectors[:, j]) for j in range(self.vectors.shape[1])],
        )

    def score(self, queries: FloatArray) -> _Scores:
        """nDCG@10 [n] of these query vectors [n, d]."""
        vectors = np.ascontiguousarray(queries, dtype=np.float32)
        return np.asarray(utilities(self.documents, self.judged, [vectors])[:, 0])

    def mixed(self, weights: npt.NDArray[np.floating]) -> FloatArray:
        """The mixtures [n, d] of the experts' vectors by `weights` [n, 1 + experts], of unit length."""
        vectors = np.einsum("ne,ned->nd", np.asarray(weights, dtype=np.float32), self.vectors)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)

    def routed(self, router: MixtureRouter) -> FloatArray:
        """The mixtures [n, d] by a router that looks at the features."""
        return self.mixed(router.weights(router.scores(self.features)))

    def only(self, columns: Sequence[int]) -> View:
        """The same queries under some of the experts alone, by their places (0 is the base)."""
        kept = np.ascontiguousarray(self.vectors[:, list(columns)])
        view = View(self.set, self.documents, self.judged, kept, self.features)
        if "utilities" in self.__dict__:  # searching again would find the same
            view.__dict__["utilities"] = self.utilities[:, list(columns)]
        return view

    def over(self, documents: Documents, judged: Sequence[Judged]) -> View:
        """The same queries and vectors over another collection of documents."""
        return View(self.set, documents, judged, self.vectors, self.features)


class Views:
    """Makes views; encodes with the experts, or takes vectors from the cache."""

    def __init__(
        self, backbone: Backbone, cache: ArrayCache, trained: Mapping[str, Trained]
    ) -> None:
        self._backbone, self._cache, self._trained = backbone, cache, trained

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts in the order of the vectors' second axis, without the base."""
        return tuple(self._trained)

    def view(self, each: RoutingSet, part: str) -> View:
        """One part of one set under every expert."""
        judged = list(each.parts[part])
        texts = [query.text for query in judged]
        label = f"queries-{each.name}-{part}"
        columns = [kept_vectors(self._cache, self._backbone, label, texts, prompt="query")]
        for name, trained in self._trained.items():
            if name == each.name and part == "train":
                halves = [self._encoded(label, texts, half) for half in trained.halves]
                columns.append(np.where((trained.folds == 0)[:, None], *halves))
            else:
                columns.append(self._encoded(label, texts, trained.whole))
        features = self._features(label, texts)
        return View(each.name, each.documents, judged, np.stack(columns, axis=1), features)

    def _features(self, label: str, texts: Sequence[str]) -> FloatArray:
        backbone, layers = self._backbone, self._backbone.routing_layers
        identity = (backbone.identity.sha256, str(backbone.dtype), layers, list(texts))
        return self._cache.get(
            label.replace("queries", "features"),
            identity,
            lambda: backbone.features(backbone.begin(texts, layers=layers, prompt="query")),
        )

    def alone(self, each: RoutingSet, part: str, expert: BedExpert) -> FloatArray:
        """The vectors [n, d] of one part's queries by an expert that is not among those routed to."""
        texts = [query.text for query in each.parts[part]]
        return self._encoded(f"queries-{each.name}-{part}", texts, expert)

    def in_one_pass(
        self, each: RoutingSet, part: str, weights: npt.NDArray[np.floating]
    ) -> FloatArray:
        """One part's vectors [n, d] through a mixture of the experts' changes; `weights` [n, experts]."""
        names = self.adapters()
        texts = [query.text for query in each.parts[part]]
        shares = np.asarray(weights, dtype=np.float32)
        return self._backbone.encode_mixture(texts, names, shares, prompt="query")

    def adapters(self) -> list[str]:
        """The names of the experts' adapters in the backbone, in their order."""
        return [self._added(trained.whole) for trained in self._trained.values()]

    def _added(self, expert: BedExpert) -> str:
        name = f"bed:{expert.set}"
        self._backbone.add_adapter(name, expert.adapter)
        return name

    def _encoded(self, label: str, texts: Sequence[str], expert: BedExpert) -> FloatArray:
        return kept_vectors(
            self._cache,
            self._backbone,
            label,
            texts,
            adapter=self._added(expert),
            adapter_digest=expert.digest,
            prompt="query",
        )
