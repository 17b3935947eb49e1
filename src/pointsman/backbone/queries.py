"""Questions on their way to the router: what it may look at, each computed when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pointsman.deadline import Deadline
from pointsman.protocols import Encoder
from pointsman.types import FloatArray


class EncodedQueries:
    """Texts and their base vectors (protocol `Queries`)."""

    def __init__(
        self, texts: Sequence[str], encoder: Encoder, deadline: Deadline | None = None
    ) -> None:
        self.texts = tuple(texts)
        self._encoder = encoder
        self._deadline = deadline

    @cached_property
    def vectors(self) -> FloatArray:
        """Unit vectors of the frozen base [n, d], computed once."""
        return self._encoder.encode(self.texts, prompt="query", deadline=self._deadline)
