"""The routing experiment as a whole: load, train, route, measure. Every step is kept and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.data.testbed import ROUTING_SEEN, ROUTING_UNSEEN
from pointsman.errors import InputError
from pointsman.experiments.report import Report, Show, silent
from pointsman.experiments.routing.bed import load_set, pooled
from pointsman.experiments.routing.choice import choose
from pointsman.experiments.routing.experts import experts_of, union_of
from pointsman.experiments.routing.rows import Known, Row, controls, ours, paper
from pointsman.experiments.routing.studies import added_one_by_one, orders
from pointsman.experiments.routing.tables import (
    Measured,
    heat_map,
    main_table,
    significance_table,
)
from pointsman.experiments.routing.views import View, Views
from pointsman.route.mixture import MixtureRouter
from pointsman.route.pilots import best_experts
from pointsman.route.recipe import OURS, Recipe
from pointsman.route.utility import MEASURE

# In how many orders experts are added one by one.
ORDERS = 3


def run(
    data: Path,
    backbone: Backbone,
    folder: Path,
    *,
    recipe: Recipe = OURS,
    seen: Sequence[str] = ROUTING_SEEN,
    unseen: Sequence[str] = ROUTING_UNSEEN,
    limit: int | None = None,
    seed: int = 0,
    show: Show | None = None,
) -> Report:
    """All rows on all sets, each set in its own index and all in one.

    `folder` keeps vectors and experts; the same call goes on from there. `limit` bounds the queries
    of each part.
    """
    show = show or silent
    missing = [name for name in (*seen, *unseen) if not (data / "beir" / name).is_dir()]
    if missing:
        raise InputError(f"{data}: no beir/{missing[0]} in it; docs/data.md says how to make it")
    recipe = replace(recipe, plan=replace(recipe.plan, seed=seed)).on(backbone)
    cache = ArrayCache(folder / "vectors")
    sets = {
        name: load_set(data / "beir" / name, backbone, cache, show, limit)
        for name in (*seen, *unseen)
    }
    learned = [sets[name] for name in seen]
    trained = experts_of(learned, backbone, recipe, folder / "experts", show)
    union = union_of(learned, trained, backbone, recipe, folder / "experts", show)
    views = Views(backbone, cache, trained)
    known = Known(
        views.experts,
        {name: views.view(sets[name], "train") for name in seen},
        {name: views.view(sets[name], "dev") for name in seen},
        {name: each.whole.domain for name, each in trained.items()},
    )
    settings, strength, choices = choose(known)
    rows = [*controls(known), *paper(known, seed), *ours(known, settings, strength)]
    show("routing the test queries", 0, len(sets))
    test = {name: views.view(each, "test") for name, each in sets.items()}
    multi = {name: views.alone(each, "test", union) for name, each in sets.items()}
    measured = measure(rows, test)
    measured.insert(
        1,
        Measured(
            "one multi-task adapter",
            "rival",
            False,
            {name: view.score(multi[name]) for name, view in test.items()},
        ),
    )
    together = [
        view.over(each.documents, each.parts["test"])
        for view, each in zip(test.values(), pooled(list(sets.values())), strict=True)
    ]
    show("routing over the pooled collection", 0, 1)
    in_one = measure(rows, {view.set: view for view in together})
    router = MixtureRouter(dict(known.domains), settings)
    shares = {name: router.weights(router.scores(view.features)) for name, view in test.items()}
    oracle = {
        name: np.eye(len(known.names))[best_experts(view.utilities)] for name, view in test.items()
    }
    against = ["base", "pilots, mean, k = 1", "DatasetOracle"]
    growth = added_one_by_one(
        known, test, seen, unseen, settings, orders(known.experts, ORDERS, seed), show
    )
    tables = (
        main_table(
            f"Routing, test: {MEASURE} × 100, each set in its own index", measured, seen, unseen
        ),
        significance_table("Differences", measured, against, seen, unseen),
        main_table("The same, all documents in one index", in_one, seen, unseen),
        significance_table(
            "Differences, all documents in one index", in_one, against, seen, unseen
        ),
        heat_map("Weight of each expert in the mixture, %", shares, known.names),
        heat_map("The instance oracle's choices, %", oracle, known.names),
        growth,
        *choices,
    )
    details = {
        "recipe": recipe,
        "settings": settings,
        "strength": strength,
        "dropped": {name: each.dropped for name, each in sets.items() if each.dropped},
        "steps": {name: trained[name].whole.steps for name in seen},
        "macro": {
            row.name: {"seen": row.macro(seen), "unseen": row.macro(unseen) if unseen else None}
            for row in measured
        },
    }
    return Report(tables, details)


def measure(rows: Sequence[Row], views: Mapping[str, View]) -> list[Measured]:
    """Every row's scores on every view."""
    return [
        Measured(
            row.name, row.kind, row.corpus, {name: row.scores(view) for name, view in views.items()}
        )
        for row in rows
    ]
