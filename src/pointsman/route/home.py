"""An expert in the base's place: for a collection that has one of its own, made from its documents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pointsman.errors import ConfigError
from pointsman.protocols import Queries, Router
from pointsman.types import Routing


class HomeRouter:
    """What another router leaves to the base goes to the expert `home` instead (`Router`).

    An expert made from documents alone has seen titles and first sentences, so no question that a
    person asks looks familiar to it; and yet on its own collection it may be better than the base.
    Raises ConfigError where the router knows an expert of this name already.
    """

    def __init__(self, router: Router, home: str) -> None:
        self._router, self._home = router, home

    def route(self, queries: Queries) -> Routing:
        """The other router's weights, the base's moved to `home`, which stands last."""
        routing = self._router.route(queries)
        if self._home in routing.experts:
            raise ConfigError(f"the expert {self._home!r} is routed to already, and cannot be home")
        weights = np.concatenate([routing.weights, routing.weights[:, :1]], axis=1)
        weights[:, 0] = 0
        return replace(
            routing,
            experts=(*routing.experts, self._home),
            weights=weights,
            scores=np.concatenate([routing.scores, routing.scores[:, :1]], axis=1),
        )
