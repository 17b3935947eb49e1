"""A chat endpoint over a real socket: right, slow, wrong, throttled, down, and talking nonsense."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Timer
from typing import Any

import pytest

from endpoint import Endpoint, serving
from pointsman.deadline import Deadline
from pointsman.errors import ConfigError, DeadlineError
from pointsman.protocols import Agent
from pointsman.read.chat import ChatAgent, ChatSettings
from pointsman.read.located import locate
from pointsman.types import Answer, Passage

BOAT = [Passage("lake", "The boat on the lake is Red, like the barn.", "Lake")]
KEY = "sk-very-secret"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as server:
        yield server


def agent(endpoint: Endpoint, **more: Any) -> ChatAgent:
    given: dict[str, Any] = {"timeout": 5.0, "retries": 2, **more}
    return ChatAgent(ChatSettings("big", endpoint.url, "a-model", **given), first_wait=0.01)


def ask(endpoint: Endpoint, script: list[dict[str, Any]], **more: Any) -> Answer:
    endpoint.script = script
    return agent(endpoint, **more).answer(["What colour is the boat?"], [BOAT])[0]


def test_it_answers_with_a_span(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIG_KEY", KEY)
    script = [{"text": ' "red." '}]
    found = ask(endpoint, script, key="BIG_KEY", dollars_in=2.0, dollars_out=10.0, confidence=0.8)
    assert isinstance(agent(endpoint), Agent)
    assert (found.text, found.agent, found.confidence) == ("Red", "big", 0.8)
    assert found.passage is BOAT[0]
    assert BOAT[0].text[found.start : found.end] == "Red"
    assert found.cost.usd == pytest.approx((1_000 * 2 + 10 * 10) / 1e6)
    assert 0 < found.cost.seconds < 5
    (request,) = endpoint.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == f"Bearer {KEY}"
    assert (request["model"], request["temperature"]) == ("a-model", 0)
    said = request["messages"][1]["content"]
    assert "[1] Lake The boat on the lake is Red" in said
    assert said.endswith("Question: What colour is the boat?")


def test_without_a_key_none_is_sent(endpoint: Endpoint) -> None:
    ask(endpoint, [{"text": "Red"}])
    assert endpoint.requests[0]["key"] is None


@pytest.mark.parametrize("text", ["NONE", "none.", "", "  "])
def test_it_may_say_that_there_is_no_answer(endpoint: Endpoint, text: str) -> None:
    found = ask(endpoint, [{"text": text}])
    assert (found.text, found.abstained, found.failure) == ("", True, "")


def test_what_stands_in_no_passage_is_no_answer(endpoint: Endpoint) -> None:
    found = ask(endpoint, [{"text": "Blue"}])
    assert (found.text, found.abstained) == ("", False)
    assert found.failure == "big said what stands in no passage: “Blue”"
    assert len(endpoint.requests) == 1
    free = ask(endpoint, [{"text": "Blue"}], extractive=False)
    assert (free.text, free.passage, free.failure) == ("Blue", None, "")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_it_asks_again_after_what_may_pass(endpoint: Endpoint, status: int) -> None:
    found = ask(endpoint, [{"status": status}, {"status": status}, {"text": "Red"}])
    assert found.text == "Red"
    assert len(endpoint.requests) == 3
    endpoint.requests.clear()
    failed = ask(endpoint, [{"status": status}])
    assert failed.failure.endswith(f"({status})")
    assert len(endpoint.requests) == 3


def test_it_waits_as_long_as_it_is_told(endpoint: Endpoint) -> None:
    began = time.monotonic()
    found = ask(endpoint, [{"status": 429, "headers": {"Retry-After": "0.3"}}, {"text": "Red"}])
    assert found.text == "Red"
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize(("told", "said"), [("86400", "86400"), ("inf", "inf")])
def test_it_waits_for_nobody_till_tomorrow(endpoint: Endpoint, told: str, said: str) -> None:
    began = time.monotonic()
    found = ask(endpoint, [{"status": 429, "headers": {"Retry-After": told}}, {"text": "Red"}])
    assert found.failure == f"big is asked too much (429), and says to ask again in {said} seconds"
    assert time.monotonic() - began < 2
    assert len(endpoint.requests) == 1


def test_no_two_wait_alike() -> None:
    """So that those that were refused together do not come back together."""
    settings = ChatSettings("big", "http://x", "m")

    def drawn(seed: int | None = None) -> list[float]:
        asked = ChatAgent(settings, seed=seed)
        return [asked._random.random() for _ in range(4)]

    assert drawn() != drawn()
    assert drawn(3) == drawn(3)


def test_a_pause_ends_when_nobody_wants_the_answer(endpoint: Endpoint) -> None:
    deadline, began = Deadline(20.0), time.monotonic()
    endpoint.script = [{"status": 429, "headers": {"Retry-After": "10"}}]
    Timer(0.2, deadline.cancel).start()
    with pytest.raises(DeadlineError, match="cancelled"):
        agent(endpoint).answer(["?"], [BOAT], deadline)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("counted", ["NaN", "-5", "Infinity", '"many"'])
def test_tokens_that_are_no_number_are_counted_by_length(endpoint: Endpoint, counted: str) -> None:
    raw = '{"choices": [{"message": {"content": "Red"}}], "usage": {"prompt_tokens": %s}}'
    found = ask(endpoint, [{"raw": raw % counted}], dollars_in=5.0, dollars_out=5.0)
    assert found.text == "Red"
    sent = sum(len(each["content"]) for each in endpoint.requests[0]["messages"])
    assert found.cost.usd == pytest.approx((sent + len("Red")) / 4.5 * 5 / 1e6)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"status": 401}, "big refused the key in BIG_KEY (401)"),
        ({"status": 404}, "big knows no model 'a-model' at its url (404)"),
        ({"status": 400, "raw": "your key sk-very-secret is fine"}, "big failed (400)"),
        ({"status": 307, "headers": {"Location": "http://127.0.0.1:9/"}}, "big failed (307)"),
    ],
)
def test_it_does_not_ask_again_after_what_stays(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("BIG_KEY", KEY)
    found = ask(endpoint, [told], key="BIG_KEY")
    assert found.failure == said
    assert KEY not in repr(found)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "raw", ["", "<html>busy</html>", "[]", '{"choices": []}', '{"choices": [{"message": {}}]}', "{"]
)
def test_nonsense_is_no_answer(endpoint: Endpoint, raw: str) -> None:
    found = ask(endpoint, [{"raw": raw}])
    assert found.failure == "big gave something else than a chat completion"
    assert ask(endpoint, [{"raw": raw}, {"text": "Red"}]).text == "Red"


def test_a_reply_that_breaks_off(endpoint: Endpoint) -> None:
    found = ask(endpoint, [{"raw": '{"choices": [{"mess', "missing": 500}], timeout=1.0)
    assert found.failure == "big gave something else than a chat completion"


def test_one_that_hangs_or_dawdles_is_given_up(endpoint: Endpoint) -> None:
    for told in ({"text": "Red", "wait": 3}, {"text": "Red", "drip": 0.05}):
        began = time.monotonic()
        found = ask(endpoint, [told], timeout=0.3, retries=0)
        assert found.failure == "big did not answer within 0.3 seconds"
        assert time.monotonic() - began < 1.5


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ChatSettings("gone", f"http://127.0.0.1:{port}/v1", "m", retries=1)
    found = ChatAgent(settings, first_wait=0.01).answer(["?"], [BOAT])[0]
    assert found.failure.startswith("gone cannot be reached (Connection refused")


def test_a_deadline_holds_whatever_the_server_does(endpoint: Endpoint) -> None:
    endpoint.script = [{"status": 503}]
    patient = agent(endpoint, retries=100)
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="asking big"):
        patient.answer(["?"] * 3, [BOAT] * 3, Deadline(0.4))
    assert time.monotonic() - began < 2


def test_what_was_answered_in_time_is_kept(endpoint: Endpoint) -> None:
    endpoint.script = [{"text": "Red"}, {"text": "Red", "wait": 3}, {"text": "Red"}]
    patient = agent(endpoint, concurrency=1)
    began = time.monotonic()
    one, two, three = patient.answer(["?"] * 3, [BOAT] * 3, Deadline(0.4))
    assert time.monotonic() - began < 2
    assert (one.text, two.text, three.text) == ("Red", "", "")
    assert two.failure.startswith("big did not answer in time (did not answer within 0.")
    assert three.failure == "big did not answer in time"


def test_many_are_asked_at_once_but_not_too_many(endpoint: Endpoint) -> None:
    endpoint.script = [{"text": "Red", "wait": 0.05}]
    found = agent(endpoint, concurrency=3).answer([f"{i}?" for i in range(9)], [BOAT] * 9)
    assert [each.question for each in found] == [f"{i}?" for i in range(9)]
    assert {each.text for each in found} == {"Red"}
    assert endpoint.most_at_once == 3
    assert agent(endpoint).answer([], []) == []


def test_calls_share_the_places(endpoint: Endpoint) -> None:
    """Four threads of a server, each with two questions, to an agent that is asked two at once."""
    endpoint.script = [{"text": "Red", "wait": 0.05}]
    shared = agent(endpoint, concurrency=2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: shared.answer([f"{i}?"] * 2, [BOAT] * 2), range(4)))
    assert {each.text for row in found for each in row} == {"Red"}
    assert endpoint.most_at_once == 2
    # One that has no time to wait for a place does not.
    endpoint.script = [{"text": "Red", "wait": 0.6}]
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(shared.answer, ["?"] * 2, [BOAT] * 2)
        time.sleep(0.1)
        began = time.monotonic()
        with pytest.raises(DeadlineError, match="asking big"):
            shared.answer(["?"], [BOAT], Deadline(0.1))
        assert time.monotonic() - began < 0.4
        assert {each.text for each in others.result()} == {"Red"}


def test_what_it_will_cost_follows_what_it_took(endpoint: Endpoint) -> None:
    asked = agent(endpoint, dollars_in=4.5)
    before = asked.estimate(["?", "?" * 46], [BOAT, BOAT])
    assert [each.seconds for each in before] == [0, 0]
    assert before[1].usd - before[0].usd == pytest.approx(45 / 4.5 * 4.5 / 1e6)
    endpoint.script = [{"text": "Red", "wait": 0.1}]
    asked.answer(["?"], [BOAT])
    assert asked.estimate(["?"], [BOAT])[0].seconds >= 0.1


def test_a_missing_key_is_named(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIG_KEY", raising=False)
    with pytest.raises(ConfigError, match="big needs a key: set BIG_KEY in the environment"):
        ask(endpoint, [{"text": "Red"}], key="BIG_KEY")
    assert endpoint.requests == []


@pytest.mark.parametrize("bad", ["sk-very\nsecret", "sk-verysecrét", "sk-very\x00secret"])
def test_a_key_that_is_none_is_not_printed(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setattr("os.environ", {"BIG_KEY": bad})
    with pytest.raises(ConfigError, match="the key in BIG_KEY has a character") as told:
        ask(endpoint, [{"text": "Red"}], key="BIG_KEY")
    assert "very" not in str(told.value)
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "ftp://x"}, "the url must begin with http"),
        ({"dollars_in": -1.0}, "dollars_in must be 0 or more, not -1"),
        ({"dollars_out": float("nan")}, "dollars_out must be 0 or more, not nan"),
        ({"timeout": 0.0}, "timeout must be above 0"),
        ({"confidence": 2.0}, "confidence lies between 0 and 1"),
    ],
)
def test_settings_that_are_none(given: Mapping[str, Any], said: str) -> None:
    usual: dict[str, Any] = {"name": "big", "url": "http://x", "model": "m"}
    with pytest.raises(ConfigError, match=f"big: {said}"):
        ChatSettings(**{**usual, **given})


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Red", (0, 24, 27)),
        ("“Red”.", (0, 24, 27)),
        ("the  BOAT, on the lake", (0, 0, 20)),
        ("a lamp-post", (1, 9, 20)),
        ("Re", None),  # not within a word
        ("東京", (2, 4, 6)),  # but where words stand together
        ("blue", None),
        ("...", None),
        ("", None),
    ],
)
def test_where_an_answer_stands(answer: str, found: tuple[int, int, int] | None) -> None:
    texts = ["The boat on the lake is Red", "Where is a lamp post?", "日本首都東京都"]
    assert locate(answer, [Passage(text, text) for text in texts]) == found
