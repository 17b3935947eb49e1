"""The bed with its experts: what all tables of the routing experiment are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.errors import InputError
from pointsman.experiments.report import Show
from pointsman.experiments.routing.bed import RoutingSet, load_set
from pointsman.experiments.routing.experts import Trained, experts_of
from pointsman.experiments.routing.keywords import kept_keywords
from pointsman.experiments.routing.rows import Known
from pointsman.experiments.routing.views import View, Views
from pointsman.hybrid import Keywords
from pointsman.route.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Bed:
    """The sets, the experts of those `seen`, and every query under every expert.

    `known` holds what routers may be built from, `test` every set's test queries.
    """

    sets: Mapping[str, RoutingSet]
    seen: Sequence[str]
    unseen: Sequence[str]
    backbone: Backbone
    cache: ArrayCache
    trained: Mapping[str, Trained]
    views: Views
    known: Known
    test: Mapping[str, View]

    def words(self, view: View) -> Keywords:
        """What BM25 finds for a view's queries in their own collection."""
        each, texts = self.sets[view.set], [query.text for query in view.judged]
        base = self.backbone.identity
        return kept_keywords(view.set, each.passages, each.documents, texts, base, self.cache)


def load_bed(
    data: Path,
    backbone: Backbone,
    folder: Path,
    recipe: Recipe,
    show: Show,
    *,
    seen: Sequence[str],
    unseen: Sequence[str],
    limit: int | None = None,
) -> Bed:
    """The bed of these sets under `data`/beir; `limit` bounds the queries of each part.

    `folder` keeps vectors and experts. Raises InputError where a set is missing.
    """
    missing = [name for name in (*seen, *unseen) if not (data / "beir" / name).is_dir()]
    if missing:
        raise InputError(f"{data}: no beir/{missing[0]} in it; docs/data.md says how to make it")
    cache = ArrayCache(folder / "vectors")
    sets = {
        name: load_set(data / "beir" / name, backbone, cache, show, limit)
        for name in (*seen, *unseen)
    }
    return trained_bed(sets, seen, backbone, cache, recipe, folder / "experts", show)


def trained_bed(
    sets: Mapping[str, RoutingSet],
    seen: Sequence[str],
    backbone: Backbone,
    cache: ArrayCache,
    recipe: Recipe,
    folder: Path,
    show: Show,
) -> Bed:
    """The bed of these sets; the experts of those `seen` are in `folder`, or are trained."""
    trained = experts_of([sets[name] for name in seen], backbone, recipe, folder, show)
    views = Views(backbone, cache, trained)
    show("queries by every expert", 0, 1)
    known = Known(
        views.experts,
        {name: views.view(sets[name], "train") for name in seen},
        {name: views.view(sets[name], "dev") for name in seen},
        {name: each.whole.domain for name, each in trained.items()},
    )
    test = {name: views.view(each, "test") for name, each in sets.items()}
    unseen = [name for name in sets if name not in seen]
    return Bed(sets, seen, unseen, backbone, cache, trained, views, known, test)
