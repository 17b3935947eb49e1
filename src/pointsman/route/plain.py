"""The plain choice: the base embeds every query."""

from __future__ import annotations

import numpy as np

from pointsman.protocols import Queries
from pointsman.types import Routing

BASE = "base"


class BaseRouter:
    """Always the frozen base (protocol `Router`)."""

    def route(self, queries: Queries) -> Routing:
        """All weight on the base."""
        ones = np.ones((len(queries.texts), 1), dtype=np.float32)
        return Routing(experts=(BASE,), weights=ones, scores=ones)
