from __future__ import annotations

from pointsman.protocols import Agent
from pointsman.read.recorded import NOT_RECORDED, RecordedAgent
from pointsman.types import Passage

PASSAGES = [Passage("a", "The sea is green."), Passage("b", "The boat, it is said, is Red.")]


def test_what_was_said_and_where_it_stands() -> None:
    agent: Agent = RecordedAgent(
        "old",
        {"What colour is the boat?": "red", "Why?": "nobody knows", "Who?": " "},
        confidence=0.6,
        dollars=0.01,
    )
    questions = ["what colour is  the boat?", "Why?", "Who?", "Where?"]
    found, elsewhere, silent, unknown = agent.answer(questions, [PASSAGES] * 4)
    assert (found.text, found.passage, found.start, found.end) == ("red", PASSAGES[1], 25, 28)
    assert (found.confidence, found.cost.usd, found.agent) == (0.6, 0.01, "old")
    assert (elsewhere.text, elsewhere.passage, elsewhere.failure) == ("nobody knows", None, "")
    assert (silent.text, silent.abstained, silent.confidence) == ("", True, 0)
    assert (unknown.failure, unknown.abstained, unknown.cost.usd) == (NOT_RECORDED, True, 0)
    assert [each.usd for each in agent.estimate(questions, [PASSAGES] * 4)] == [0.01] * 4
