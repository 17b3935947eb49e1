"""What routing and embedding take a query, by the way that a row goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.queries import EncodedQueries, routed_vectors
from pointsman.experiments.routing.rows import Way
from pointsman.route.familiarity import Domain
from pointsman.route.mixture import MixtureRouter, MixtureSettings
from pointsman.route.pilots import Pilots
from pointsman.route.plain import BASE
from pointsman.route.router import PilotRouter

BATCH = 64
# The ways take turns, so that what else the machine does falls on all of them.
_ROUNDS = 9


def cost(
    backbone: Backbone,
    domains: Mapping[str, Domain],
    library: Pilots,
    settings: MixtureSettings,
    texts: Sequence[str],
) -> dict[Way, float]:
    """Seconds a query of each way, the median of rounds over these texts.

    `domains` are the experts' by the names of their adapters, which are in the backbone; `library`
    holds the pilots of the base and of them.
    """
    names = list(domains)
    mixture = MixtureRouter(domains, settings)
    pilots = PilotRouter([BASE, *names], library)

    def routed(router: MixtureRouter | PilotRouter) -> object:
        queries = EncodedQueries(texts, backbone)
        return routed_vectors(backbone, queries, router.route(queries))

    def every() -> object:
        vectors = [backbone.encode(texts, name, prompt="query") for name in (None, *names)]
        return np.mean(vectors, axis=0)

    ways: dict[Way, Callable[[], object]] = {
        "one encode": lambda: backbone.encode(texts, prompt="query"),
        "two encodes": lambda: routed(pilots),
        "every encode": every,
        "one pass": lambda: routed(mixture),
    }
    spent: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(_ROUNDS + 1):
        for way, run in ways.items():
            started = time.perf_counter()
            run()
            spent[way].append(time.perf_counter() - started)
    # The first round warms up.
    return {way: float(np.median(seconds[1:])) / len(texts) for way, seconds in spent.items()}
