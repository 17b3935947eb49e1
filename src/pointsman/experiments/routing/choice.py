"""What our router is set to: chosen on dev, and by leaving each seen domain out in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np

from pointsman.data.draw import drawn
from pointsman.evaluate.tables import Cell, Column, Table
from pointsman.experiments.routing.rows import Known, leave_one_out, whitened
from pointsman.experiments.routing.views import View
from pointsman.route.mixture import MixtureRouter, MixtureSettings
from pointsman.types import FloatArray

THRESHOLDS = (0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
BASES = (0.0, 0.15, 0.3)
BASE_EXPERTS = (1.0, 2.0, 4.0, 8.0)
STRENGTHS = (0.0, 0.1, 0.15, 0.2, 0.3)

# Queries of a left-out domain that settings are compared on: enough to tell them apart.
_QUERIES = 500

Vectors = Callable[[Known, View], FloatArray]


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

    def score(self, vectors: Vectors) -> tuple[float, float]:
        """Macro nDCG@10 with the own expert there, and without it."""
        own = [view.score(vectors(self._known, view)).mean() for view in self._known.dev.values()]
        out = [
            view.score(vectors(self._without[name], view)).mean()
            for name, view in self._left_out.items()
        ]
        return float(np.mean(own)), float(np.mean(out))


def choose(known: Known) -> tuple[MixtureSettings, float, tuple[Table, ...]]:
    """The mixture's settings and the strength of whitening whose two scores together are highest."""
    bench = Bench(known)
    found: dict[MixtureSettings, tuple[float, float]] = {}
    for base, base_experts, threshold in product(BASES, BASE_EXPERTS, THRESHOLDS):
        settings = MixtureSettings(base=base, base_experts=base_experts, threshold=threshold)
        found[settings] = bench.score(_mixture(settings))
    settings = max(found, key=lambda each: sum(found[each]))
    strengths = {
        strength: bench.score(_whitened(_mixture(settings), strength)) for strength in STRENGTHS
    }
    strength = max(strengths, key=lambda each: sum(strengths[each]))
    plain = bench.score(lambda known, view: np.ascontiguousarray(view.base))
    return settings, strength, _tables(found, strengths, plain)


def _mixture(settings: MixtureSettings) -> Vectors:
    def vectors(known: Known, view: View) -> FloatArray:
        if not known.domains:  # the only domain was left out
            return np.ascontiguousarray(view.base)
        router = MixtureRouter(dict(known.domains), settings)
        return view.mixed(router.weights(router.scores(view.features)))

    return vectors


def _whitened(vectors: Vectors, strength: float) -> Vectors:
    return lambda known, view: whitened(view, vectors(known, view), strength)


def _some(view: View, count: int) -> View:
    chosen = drawn(len(view.judged), count)
    judged = [view.judged[i] for i in chosen]
    return View(view.set, view.documents, judged, view.vectors[chosen], view.features[chosen])


def _tables(
    found: Mapping[MixtureSettings, tuple[float, float]],
    strengths: Mapping[float, tuple[float, float]],
    plain: tuple[float, float],
) -> tuple[Table, ...]:
    shown = sorted(found, key=lambda each: -sum(found[each]))[:10]
    scores: list[Column | str] = [
        Column("own expert there (dev)", decimals=2, scale=100),
        Column("own expert left out", decimals=2, scale=100),
    ]
    mixtures: list[list[Cell]] = [["–", "–", "base alone", *plain]]
    mixtures += [
        [f"{each.base:g}", f"{each.base_experts:g}", f"{each.threshold:g}", *found[each]]
        for each in shown
    ]
    whitenings: list[list[Cell]] = [
        [f"{strength:g}", *both] for strength, both in strengths.items()
    ]
    return (
        Table(
            f"What the mixture was chosen from: the ten best of {len(found)}",
            ["base's share", "base counts as", "threshold", *scores],
            mixtures,
        ),
        Table("Strength of whitening, with the best mixture", ["strength", *scores], whitenings),
    )
