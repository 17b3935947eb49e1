"""A reader as an agent: what it makes of a reading, and when it stays silent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pointsman.deadline import Deadline
from pointsman.protocols import Agent
from pointsman.read.agent import ReaderAgent
from pointsman.read.durations import Durations
from pointsman.read.reader import SpanReader
from pointsman.types import Passage, Reading, Span

PASSAGES = [Passage("a", "alpha beta gamma"), Passage("b", "delta epsilon")]
BEST = Span("epsilon", 1, 6, 13, 3.0, 0.625)
SECOND = Span("beta", 0, 6, 10, 1.0, 0.125)
READING = Reading((BEST, SECOND), no_answer=0.25, confidence=0.5, gflops=2.5)


class Found:
    """A reader that has read already."""

    def __init__(self, *readings: Reading) -> None:
        self._readings = list(readings)
        self.n_best: list[int] = []

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        n_best: int = 1,
        deadline: Deadline | None = None,
    ) -> list[Reading]:
        self.n_best.append(n_best)
        return self._readings


def test_the_best_span_is_the_answer() -> None:
    reader = Found(READING)
    agent: Agent = ReaderAgent(reader, name="small", n_best=2)
    [answer] = agent.answer(["what?"], [PASSAGES])
    assert (answer.question, answer.text, answer.agent) == ("what?", "epsilon", "small")
    assert answer.passage == PASSAGES[1]
    assert answer.passage.text[answer.start : answer.end] == "epsilon"
    assert answer.confidence == 0.5  # the calibrated one, not the span's own 0.625
    assert answer.alternatives == ((SECOND, PASSAGES[0]),)
    assert (answer.cost.gflops, answer.cost.seconds, answer.cost.usd) == (2.5, 0, 0)
    assert not answer.abstained
    assert reader.n_best == [2]


@pytest.mark.parametrize(("floor", "silent"), [(0.0, False), (0.5, False), (0.51, True)])
def test_below_its_floor_it_abstains(floor: float, silent: bool) -> None:
    [answer] = ReaderAgent(Found(READING), min_confidence=floor).answer(["what?"], [PASSAGES])
    assert answer.abstained == silent
    assert answer.confidence == 0.5
    if silent:
        assert (answer.text, answer.passage, answer.start, answer.end) == ("", None, None, None)
        assert answer.alternatives == ((BEST, PASSAGES[1]), (SECOND, PASSAGES[0]))
        assert answer.cost.gflops == 2.5  # reading was paid for all the same


def test_without_a_span_it_abstains_whatever_its_floor() -> None:
    nothing = Reading((), no_answer=1.0, confidence=0.0)
    [answer] = ReaderAgent(Found(nothing), min_confidence=0.0).answer(["what?"], [[]])
    assert answer.abstained
    assert (answer.text, answer.alternatives) == ("", ())


def test_a_reader_must_read_every_question() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ReaderAgent(Found(READING)).answer(["one?", "two?"], [PASSAGES, PASSAGES])


def test_the_estimate_grows_with_what_is_to_be_read() -> None:
    agent = ReaderAgent(Found(), gflops_per_token=0.5)
    # (5 + 16) + (5 + 13) characters at 4.5 a token, half a GFLOP each.
    one, none = agent.estimate(["what?", "what?"], [PASSAGES, []])
    assert one.gflops == pytest.approx((5 + 16 + 5 + 13) / 4.5 * 0.5)
    assert none.gflops == 0
    assert one.seconds == 0


def test_seconds_are_those_of_reading() -> None:
    """Nine in ten took no longer, of the last two hundred."""
    agent = ReaderAgent(Found(READING, READING))
    agent.answer(["one?", "two?"], [PASSAGES, PASSAGES])
    assert 0 < agent.estimate(["what?"], [PASSAGES])[0].seconds < 1
    known = Durations()
    assert known.usual == 0
    for seconds in range(1_000):
        known.add(float(seconds))
    assert known.usual == pytest.approx(800 + 0.9 * 199)


def test_with_a_real_reader(reader: SpanReader) -> None:
    agent = ReaderAgent(reader, n_best=3)
    questions = ["what follows alpha", "what is delta", "what"]
    contexts = [PASSAGES, PASSAGES[1:], []]
    answers = agent.answer(questions, contexts)
    for answer, context in zip(answers[:2], contexts[:2], strict=True):
        assert answer.passage in context
        assert answer.passage.text[answer.start : answer.end] == answer.text
    assert answers[2].abstained
    for together, question, context in zip(answers, questions, contexts, strict=True):
        [one] = agent.answer([question], [context])
        assert together.confidence == pytest.approx(one.confidence, abs=1e-5)
        assert (together.text, together.passage) == (one.text, one.passage)
