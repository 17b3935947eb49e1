"""A reader as an agent: its best span is the answer, or it abstains."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pointsman.deadline import Deadline
from pointsman.protocols import Reader
from pointsman.read.durations import Durations
from pointsman.trace import Cost
from pointsman.types import Answer, Passage, Reading

# English runs at about this many characters a token; an estimate need not tokenise.
_CHARACTERS_A_TOKEN = 4.5


class ReaderAgent:
    """Answers with spans of the passages (protocol `Agent`).

    It abstains where its calibrated confidence is below `min_confidence`: 0 always answers.
    `gflops_per_token` serves the estimate of cost alone; `dollars` is what a question is said to take.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        name: str = "reader",
        n_best: int = 3,
        min_confidence: float = 0.0,
        gflops_per_token: float = 0.0,
        dollars: float = 0.0,
    ) -> None:
        self.name = name
        self._reader = reader
        self._n_best = n_best
        self._min_confidence = min_confidence
        self._gflops_per_token = gflops_per_token
        self._dollars = dollars
        self._durations = Durations()

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        """One answer a question, all questions read together."""
        began = time.monotonic()
        readings = self._reader.read(questions, contexts, n_best=self._n_best, deadline=deadline)
        if readings:
            self._durations.add((time.monotonic() - began) / len(readings))
        return [self._answer(*each) for each in zip(questions, contexts, readings, strict=True)]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        """What reading these passages will cost, from their lengths in characters; seconds as it was so far."""
        seconds, costs = self._durations.usual, []
        for question, passages in zip(questions, contexts, strict=True):
            characters = sum(len(question) + len(passage.text) for passage in passages)
            gflops = characters / _CHARACTERS_A_TOKEN * self._gflops_per_token
            costs.append(Cost(gflops, seconds, self._dollars))
        return costs

    def _answer(self, question: str, passages: Sequence[Passage], reading: Reading) -> Answer:
        cost = Cost(gflops=reading.gflops, usd=self._dollars)
        alternatives = tuple((span, passages[span.passage]) for span in reading.spans)
        if not reading.spans or reading.confidence < self._min_confidence:
            return Answer(
                question=question,
                text="",
                confidence=reading.confidence,
                agent=self.name,
                alternatives=alternatives,
                abstained=True,
                cost=cost,
            )
        best = reading.spans[0]
        return Answer(
            question=question,
            text=best.text,
            confidence=reading.confidence,
            passage=passages[best.passage],
            start=best.start,
            end=best.end,
            agent=self.name,
            alternatives=alternatives[1:],
            cost=cost,
        )
