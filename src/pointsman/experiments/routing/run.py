"""The routing experiment as a whole: load, train, route, measure. Every step is kept and resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.data.draw import drawn
from pointsman.data.testbed import ROUTING_SEEN, ROUTING_UNSEEN
from pointsman.evaluate.tables import Table
from pointsman.experiments.report import Report, Show, silent
from pointsman.experiments.routing import pictures
from pointsman.experiments.routing.bed import pooled
from pointsman.experiments.routing.choice import choose, fusion_weights
from pointsman.experiments.routing.context import SETS as CONTEXT_SETS
from pointsman.experiments.routing.context import context
from pointsman.experiments.routing.cost import BATCH, cost
from pointsman.experiments.routing.experts import union_of
from pointsman.experiments.routing.rows import (
    Row,
    Way,
    controls,
    dataset_oracle,
    ours,
    paper,
    paper_library,
    searching,
)
from pointsman.experiments.routing.seeds import seeds
from pointsman.experiments.routing.sizes import SETS as SIZED_SETS
from pointsman.experiments.routing.sizes import size_curves, sizes_table, training_sizes
from pointsman.experiments.routing.studies import added_one_by_one, asked_before, orders
from pointsman.experiments.routing.tables import (
    Measured,
    heat_map,
    main_table,
    significance_table,
)
from pointsman.experiments.routing.trained_bed import Bed, load_bed
from pointsman.experiments.routing.unasked import unasked
from pointsman.experiments.routing.views import View
from pointsman.route.mixture import MixtureRouter, MixtureSettings
from pointsman.route.pilots import best_experts
from pointsman.route.recipe import OURS, Recipe
from pointsman.route.utility import MEASURE
from pointsman.route.words import USUAL, dense_shift

# In how many orders experts are added one by one.
ORDERS = 3
_CAREFUL = "familiarity mixture, unfamiliar by the base alone"
AGAINST = ("base", "one multi-task adapter", "pilots, mean, k = 1", "DatasetOracle")


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
    studies: bool = True,
    draw: Path | None = None,
    show: Show | None = None,
) -> Report:
    """All rows on all sets: each set in its own index, all in one, and in hybrid search.

    `folder` keeps vectors and experts; the same call goes on from there. `limit` bounds the queries
    of each part. With `studies` come those that train more experts. Pictures are written where
    `draw` says: draw-map.svg, ….
    """
    show = show or silent
    recipe = replace(recipe, plan=replace(recipe.plan, seed=seed)).on(backbone)
    bed = load_bed(data, backbone, folder, recipe, show, seen=seen, unseen=unseen, limit=limit)
    learned = [bed.sets[name] for name in seen]
    union = union_of(learned, bed.trained, backbone, recipe, folder / "experts", show)
    multi = {name: bed.views.alone(each, "test", union) for name, each in bed.sets.items()}

    show("choosing on dev", 0, 1)
    settings, strength, choices = choose(bed.known, bed.words)
    router = MixtureRouter(dict(bed.known.domains), settings)
    rows = [*controls(bed.known), *paper(bed.known, seed), *ours(router, strength)]
    shares = {name: router.weights(router.scores(view.features)) for name, view in bed.test.items()}
    passed = {
        name: bed.views.in_one_pass(bed.sets[name], "test", each[:, 1:])
        for name, each in shares.items()
    }
    in_one = searching(
        "familiarity mixture, one pass", "ours", lambda view: passed[view.set], "one pass"
    )
    one = searching("one multi-task adapter", "rival", lambda view: multi[view.set], "one encode")
    rows = [rows[0], one, *rows[1:], in_one]
    show("routing the test queries", 0, 1)
    alone = measure(rows, bed.test, _seconds(bed, settings, seed))
    show("routing over the pooled collection", 0, 1)
    together = {
        each.name: bed.test[each.name].over(each.documents, each.parts["test"])
        for each in pooled(list(bed.sets.values()))
    }
    over_all = measure(rows, together)
    show("hybrid search", 0, 1)
    fusion = fusion_weights(bed.known, bed.words)
    careful = MixtureRouter(dict(bed.known.domains), replace(settings, base_experts=math.inf))
    hybrid = [*_hybrid(rows, bed), *_fused(bed, fusion, careful)]

    oracle = {
        name: np.eye(len(bed.known.names))[best_experts(view.utilities)]
        for name, view in bed.test.items()
    }
    came = orders(bed.known.experts, ORDERS, seed)
    grown = added_one_by_one(bed.known, bed.test, seen, unseen, settings, came, show)
    tables = [
        main_table(
            f"Routing, test: {MEASURE} × 100, each set in its own index", alone, seen, unseen
        ),
        significance_table("Differences", alone, AGAINST, seen, unseen),
        main_table("The same in hybrid search, fused with BM25", hybrid, seen, unseen),
        significance_table("Differences, hybrid", hybrid, AGAINST, seen, unseen),
        main_table("The same, all documents in one index", over_all, seen, unseen),
        significance_table(
            "Differences, all documents in one index", over_all, AGAINST, seen, unseen
        ),
        heat_map("Weight of each expert in the mixture, %", shares, bed.known.names),
        heat_map("The instance oracle's choices, %", oracle, bed.known.names),
        asked_before(bed.test, {name: bed.sets[name].parts["train"] for name in seen}, bed.known),
        grown,
    ]
    if draw is not None:
        _draw(bed, shares, oracle, grown, seed, draw)
    if studies:
        tables += _studies(bed, recipe, folder / "experts", seed, draw, show)
    details = {
        "recipe": recipe,
        "settings": settings,
        "strength": strength,
        "dense weights": fusion,
        "dropped": {name: each.dropped for name, each in bed.sets.items() if each.dropped},
        "steps": {name: each.whole.steps for name, each in bed.trained.items()},
        "negatives": {name: each.whole.negatives for name, each in bed.trained.items()},
        "macro": {
            row.name: {"seen": row.macro(seen), "unseen": row.macro(unseen) if unseen else None}
            for row in alone
        },
    }
    return Report((*tables, *choices), details)


def _seconds(bed: Bed, settings: MixtureSettings, seed: int) -> dict[Way, float]:
    """What a query of the mixed test parts takes."""
    texts = [query.text for view in bed.test.values() for query in view.judged]
    some = [texts[i] for i in drawn(len(texts), BATCH, seed)]
    domains = dict(zip(bed.views.adapters(), bed.known.domains.values(), strict=True))
    return cost(bed.backbone, domains, paper_library(bed.known, seed), settings, some)


def _hybrid(rows: Sequence[Row], bed: Bed) -> list[Measured]:
    """The rows that are ways of searching, each fused with BM25; and BM25 by itself."""
    words = {name: bed.words(view) for name, view in bed.test.items()}
    measured = [
        Measured(
            "BM25 alone",
            "control",
            False,
            {n: words[n].alone(v.documents, v.judged) for n, v in bed.test.items()},
        )
    ]
    for row in rows:
        if row.queries is not None:
            scores = {
                n: words[n].hybrid(v.documents, v.judged, row.queries(v))
                for n, v in bed.test.items()
            }
            measured.append(Measured(row.name, row.kind, row.corpus, scores))
    return measured


def _fused(bed: Bed, fusion: Mapping[str, float], router: MixtureRouter) -> list[Measured]:
    """Hybrid search with the weight of words routed too: by our router, and by an oracle of the set."""
    own = [None, *(fusion[name] for name in bed.known.experts)]
    oracle = dataset_oracle().queries
    assert oracle is not None
    found: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for name, view in bed.test.items():
        words = bed.words(view)
        shares = router.weights(router.scores(view.features))
        weights, routed = USUAL + dense_shift(shares, own), view.mixed(shares)
        of_set = np.full(len(view.judged), fusion.get(name, USUAL))
        for row, queries, each in (
            (_CAREFUL, routed, np.full(len(weights), USUAL)),
            ("base, fusion routed", view.base, weights),
            (f"{_CAREFUL}, fusion routed", routed, weights),
            ("base, its domain's fusion", view.base, of_set),
            ("DatasetOracle, its domain's fusion", oracle(view), of_set),
        ):
            found.setdefault(row, {})[name] = words.hybrid(
                view.documents, view.judged, queries, each
            )
    return [
        Measured(row, "bound" if "its domain's" in row else "ours", False, scores)
        for row, scores in found.items()
    ]


def _draw(
    bed: Bed,
    shares: Mapping[str, npt.NDArray[np.floating]],
    oracle: Mapping[str, npt.NDArray[np.floating]],
    grown: Table,
    seed: int,
    draw: Path,
) -> None:
    library = paper_library(bed.known, seed)
    names = bed.known.names
    pictures.embedding_map(
        {name: bed.test[name].base for name in bed.seen},
        {name: bed.test[name].base for name in bed.unseen},
        library.vectors,
        [names[expert] for expert in library.experts.tolist()],
        draw.with_name(f"{draw.name}-map.svg"),
        seed=seed,
    )
    means = {
        title: np.stack([each.mean(axis=0) for each in found.values()])
        for title, found in (("mixture's weights", shares), ("InstanceOracle's choices", oracle))
    }
    pictures.heat_maps(means, list(shares), names, draw.with_name(f"{draw.name}-heat.svg"))
    pictures.growth(grown.rows, draw.with_name(f"{draw.name}-growth.svg"))


def _studies(
    bed: Bed, recipe: Recipe, folder: Path, seed: int, draw: Path | None, show: Show
) -> list[Table]:
    """Those that train: a second seed, growing training sets, the context encoder, and experts of
    documents alone.
    """
    again = seeds(bed, recipe, folder, show, seed=seed + 1)
    names = [name for name in SIZED_SETS if name in bed.seen]
    # One kind of negatives, that sizes be compared and nothing else.
    plain = replace(recipe, negatives=recipe.negatives[:1])
    sized = training_sizes(bed, plain, folder, show, names=names)
    if draw is not None and sized:
        pictures.size_curves(size_curves(sized), draw.with_name(f"{draw.name}-sizes.svg"))
    names = [name for name in CONTEXT_SETS if name in bed.seen]
    both = context(bed, recipe, folder, show, names=names)
    # Judged negatives: a title or a first sentence is relevant to its own document and no other.
    made = replace(recipe, negatives=("judged",))
    return [again, sizes_table(sized), both, unasked(bed, made, folder, show, names=bed.unseen)]


def measure(
    rows: Sequence[Row], views: Mapping[str, View], seconds: Mapping[Way, float] | None = None
) -> list[Measured]:
    """Every row's scores on every view, and what its way takes a query where `seconds` says so."""
    return [
        Measured(
            row.name,
            row.kind,
            row.corpus,
            {name: row.scores(view) for name, view in views.items()},
            seconds.get(row.way) if seconds and row.way else None,
        )
        for row in rows
    ]
