"""What our router is set to: chosen on dev, and by leaving each seen domain out in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import product

import numpy as np

from pointsman.data.draw import drawn
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.routing.rows import Known, leave_one_out, whitened
from pointsman.experiments.routing.views import View
from pointsman.hybrid import Keywords, dev_dense_weight
from pointsman.route.mixture import MixtureRouter, MixtureSettings
from pointsman.types import FloatArray

THRESHOLDS = (0.7, 0.8, 0.9, 1.0, 1.1)
OWN_COVARIANCES = (0.0, 0.5, 0.9)
BASES = (0.0, 0.15)
BASE_EXPERTS = (2.0, 4.0, 8.0)
STRENGTHS = (0.0, 0.1, 0.15, 0.2, 0.3)

# Queries of a left-out domain that settings are compared on: enough to tell them apart.
_QUERIES = 500

Vectors = Callable[[Known, View], FloatArray]
Words = Callable[[View], Keywords]
Both = tuple[float, float]
"""Macro nDCG@10 with the own expert there, and with it left out."""


class Bench:
    """Scores ways of mixing with each domain's expert there (on dev), and with it left out.

    A left-out domain's own training queries are unseen by all experts that remain.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._without = {name: leave_one_out(known, name) for name in known.experts}
        self._left_out = {
            name: _some(self._without[name].train[name], _QUERIES) for name in known.experts
        }

    def score(self, vectors: Vectors, words: Words | None = None) -> tuple[float, float]:
        """Macro nDCG@10 with the own expert there, and without it; with `words` in hybrid search."""

        def mean(known: Known, view: View) -> float:
            queries = vectors(known, view)
            if words is None:
                return float(view.score(queries).mean())
            return float(words(view).hybrid(view.documents, view.judged, queries).mean())

        own = [mean(self._known, view) for view in self._known.dev.values()]
        out = [mean(self._without[name], view) for name, view in self._left_out.items()]
        return float(np.mean(own)), float(np.mean(out))


def choose(known: Known, words: Words) -> tuple[MixtureSettings, float, tuple[Table, ...]]:
    """The mixture's settings and the strength of whitening whose two scores together are highest.

    Both for search by vectors; what `words` find tells whether they serve hybrid search too.
    """
    bench = Bench(known)
    found: dict[MixtureSettings, Both] = {}
    for base, base_experts, threshold, own in product(
        BASES, BASE_EXPERTS, THRESHOLDS, OWN_COVARIANCES
    ):
        settings = MixtureSettings(
            base=base, base_experts=base_experts, threshold=threshold, own_covariance=own
        )
        found[settings] = bench.score(_mixture(settings))
    settings = max(found, key=lambda each: sum(found[each]))
    ways = {strength: _whitened(_mixture(settings), strength) for strength in STRENGTHS}
    dense = {strength: bench.score(way) for strength, way in ways.items()}
    hybrid = {strength: bench.score(way, words) for strength, way in ways.items()}
    strength = max(dense, key=lambda each: sum(dense[each]))
    plain = bench.score(_plain), bench.score(_plain, words)
    return settings, strength, (_mixtures(found, plain[0]), _strengths(dense, hybrid, plain))


def fusion_weights(known: Known, words: Words) -> dict[str, float]:
    """Each domain's weight of the vectors in hybrid search, by its own expert's queries on dev."""
    found = {}
    for name in known.experts:
        view, own = known.dev[name], known.names.index(name)
        queries = np.ascontiguousarray(view.vectors[:, own])
        found[name] = dev_dense_weight(words(view), view.documents, view.judged, queries)
    return found


def _plain(known: Known, view: View) -> FloatArray:
    return np.ascontiguousarray(view.base)


def _mixture(settings: MixtureSettings) -> Vectors:
    @lru_cache(maxsize=1)  # dev views come one after another, all under the same router
    def router(known: Known) -> MixtureRouter:
        return MixtureRouter(dict(known.domains), settings)

    def vectors(known: Known, view: View) -> FloatArray:
        if not known.domains:  # the only domain was left out
            return np.ascontiguousarray(view.base)
        return view.routed(router(known))

    return vectors


def _whitened(vectors: Vectors, strength: float) -> Vectors:
    return lambda known, view: whitened(view, vectors(known, view), strength)


def _some(view: View, count: int) -> View:
    chosen = drawn(len(view.judged), count)
    judged = [view.judged[i] for i in chosen]
    return View(view.set, view.documents, judged, view.vectors[chosen], view.features[chosen])


def _mixtures(found: Mapping[MixtureSettings, Both], plain: Both) -> Table:
    shown = sorted(found, key=lambda each: -sum(found[each]))[:10]
    rows: list[list[Cell]] = [["base alone", "–", "–", "–", *plain]]
    for each in shown:
        chosen = (each.base, each.base_experts, each.threshold, each.own_covariance)
        rows.append([*(f"{value:g}" for value in chosen), *found[each]])
    columns: list[Column | str] = ["base's share", "base counts as", "threshold", "own covariance"]
    return Table(
        f"What the mixture was chosen from: the ten best of {len(found)}",
        [*columns, *_columns("")],
        rows,
    )


def _strengths(
    dense: Mapping[float, Both], hybrid: Mapping[float, Both], plain: tuple[Both, Both]
) -> Table:
    rows: list[list[Cell]] = [["base alone", *plain[0], *plain[1]]]
    rows += [[f"{strength:g}", *dense[strength], *hybrid[strength]] for strength in dense]
    columns: list[Column | str] = ["strength", *_columns(""), *_columns(", hybrid")]
    return Table("Strength of whitening, with the best mixture", columns, rows)


def _columns(search: str) -> list[Column]:
    titles = (f"own expert there (dev){search}", f"own expert left out{search}")
    return [Column(title, decimals=2, scale=100) for title in titles]
