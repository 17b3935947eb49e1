"""An agent whose answers were given before: those of a file, found in the passages that are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pointsman.data.splits import normalise
from pointsman.deadline import Deadline
from pointsman.read.located import locate
from pointsman.trace import Cost
from pointsman.types import Answer, Passage

NOT_RECORDED = "no answer is recorded for this question"


class RecordedAgent:
    """Answers of a file by the question's text (protocol `Agent`).

    `confidence` is the chance that one is right, `dollars` what one is said to have cost. A question
    without one is a failure, so that the next best agent is asked. An answer that stands in no passage
    has no place.
    """

    def __init__(
        self,
        name: str,
        answers: Mapping[str, str],
        *,
        confidence: float = 0.75,
        dollars: float = 0.0,
    ) -> None:
        self.name = name
        self._answers = {normalise(question): text for question, text in answers.items()}
        self._confidence = confidence
        self._cost = Cost(usd=dollars)

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        """One answer a question."""
        return [self._answer(*each) for each in zip(questions, contexts, strict=True)]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        """The same for every question."""
        return [self._cost] * len(questions)

    def _answer(self, question: str, passages: Sequence[Passage]) -> Answer:
        text = self._answers.get(normalise(question))
        if text is None:
            return Answer(question, "", 0.0, agent=self.name, abstained=True, failure=NOT_RECORDED)
        place = locate(text, passages) if text.strip() else None
        if place is None:
            silent = not text.strip()
            return Answer(
                question,
                text.strip(),
                0.0 if silent else self._confidence,
                agent=self.name,
                abstained=silent,
                cost=self._cost,
            )
        i, start, end = place
        return Answer(
            question,
            text.strip(),
            self._confidence,
            passage=passages[i],
            start=start,
            end=end,
            agent=self.name,
            cost=self._cost,
        )
