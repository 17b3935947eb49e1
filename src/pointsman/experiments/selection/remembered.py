"""A span reader that reads each pair of a question and a passage once, whatever selections it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pointsman.deadline import Deadline
from pointsman.protocols import Reader
from pointsman.types import Passage, Reading, Span


class RememberingReader:
    """The best answers of a reader that looks at one passage at a time (protocol `Reader`).

    A passage's best span does not depend on the others, and what is believed of a passage only moves
    it: many selections of the same candidates cost one reading. It knows of no more than the best span,
    and gives no confidence.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._best: dict[tuple[str, str], Span | None] = {}

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        n_best: int = 1,
        deadline: Deadline | None = None,
    ) -> list[Reading]:
        """The best span of each question's passages, as the reader itself would find it."""
        new = {
            (question, passage.text): passage
            for question, given in zip(questions, passages, strict=True)
            for passage in given
            if (question, passage.text) not in self._best
        }
        alone = [[replace(passage, belief=0.0)] for passage in new.values()]
        found = self.reader.read([question for question, _ in new], alone, deadline=deadline)
        for pair, reading in zip(new, found, strict=True):
            self._best[pair] = reading.spans[0] if reading.spans else None
        return [
            self._reading(question, given)
            for question, given in zip(questions, passages, strict=True)
        ]

    def _reading(self, question: str, passages: Sequence[Passage]) -> Reading:
        spans = []
        for place, passage in enumerate(passages):
            best = self._best[question, passage.text]
            if best is not None:
                spans.append(replace(best, passage=place, score=best.score + passage.belief))
        best_first = sorted(spans, key=lambda span: -span.score)
        return Reading(tuple(best_first[:1]), no_answer=0.0, confidence=0.0)
