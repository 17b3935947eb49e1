"""A chat endpoint as an agent: any server that speaks OpenAI's chat completions, far away or local.

Nothing is sent but to the URL that somebody configured. The key is read from the environment when it is
needed, and stands in no message, no trace and no file.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPResponse
from typing import Any

from pointsman.deadline import Deadline
from pointsman.errors import ConfigError
from pointsman.read.durations import Durations
from pointsman.read.located import locate
from pointsman.text import scrub
from pointsman.trace import Cost, shorten
from pointsman.types import Answer, Passage

SYSTEM = (
    "Answer the question from the passages alone. Reply with the shortest span that answers it, copied "
    "exactly from a passage, and nothing else. If no passage holds the answer, reply {nothing}."
)
NOTHING = "NONE"

_CHARACTERS_A_TOKEN = 4.5
_ANSWER_TOKENS = 16
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LARGEST = 1 << 22  # bytes of a reply
_PATIENCE = 60.0  # seconds; a server that asks for more is not waited for


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Where a chat agent is and how it is asked.

    `url` is the part before /chat/completions. `key` names the variable of the environment that holds
    the key, empty for none. `dollars_in` and `dollars_out` are for a million tokens. `timeout` is the
    seconds an attempt may take; after a failure that may pass it is asked again, up to `retries` times.
    `confidence` is the chance that an answer of its is right, until a verifier knows better. An
    `extractive` agent's answer counts only where it stands in a passage. Raises ConfigError.
    """

    name: str
    url: str
    model: str
    key: str = ""
    dollars_in: float = 0.0
    dollars_out: float = 0.0
    concurrency: int = 8
    timeout: float = 30.0
    retries: int = 3
    max_tokens: int = 64
    confidence: float = 0.75
    extractive: bool = True

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"{self.name}: the url must begin with http:// or https://, not {self.url!r}"
            )
        for what, value in (
            ("dollars_in", self.dollars_in),
            ("dollars_out", self.dollars_out),
            ("retries", self.retries),
        ):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{self.name}: {what} must be 0 or more, not {value}")
        for what, value in (
            ("concurrency", self.concurrency),
            ("timeout", self.timeout),
            ("max_tokens", self.max_tokens),
        ):
            if not 0 < value < float("inf"):
                raise ConfigError(f"{self.name}: {what} must be above 0, not {value}")
        if not 0 <= self.confidence <= 1:
            raise ConfigError(
                f"{self.name}: confidence lies between 0 and 1, not {self.confidence}"
            )


class _AttemptError(Exception):
    """An attempt that gave no answer; `again` says whether another may, `wait` when at the earliest."""

    def __init__(self, reason: str, again: bool, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.again = again
        self.wait = wait


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the key to a server that nobody named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None, which makes a redirect an error."""


_OPENER = urllib.request.build_opener(_Stay)


class ChatAgent:
    """Asks a chat endpoint (protocol `Agent`). Several questions are asked at once, on threads.

    Pauses between attempts are drawn by chance, by `seed` where one is given.
    """

    def __init__(
        self, settings: ChatSettings, *, first_wait: float = 0.5, seed: int | None = None
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self._first_wait = first_wait
        self._random = random.Random(seed)
        self._durations = Durations()
        self._lock = threading.Lock()
        # Of all calls together: a server's requests, each with a few questions, add up.
        self._places = threading.BoundedSemaphore(settings.concurrency)

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        """One answer a question; what the endpoint did not answer, or not in time, says why in `failure`.

        Raises ConfigError where its key is not in the environment, DeadlineError where time was up before
        anything was answered.
        """
        key = self._key()
        asked = list(zip(questions, contexts, strict=True))
        if not asked:
            return []
        with ThreadPoolExecutor(min(self.settings.concurrency, len(asked))) as pool:
            given = list(pool.map(lambda each: self._one(each[0], each[1], key, deadline), asked))
        if deadline is not None and all(answer.failure for answer in given):
            deadline.check(f"asking {self.name}")
        return given

    def check_key(self) -> None:
        """Raise ConfigError where its key is not in the environment, or cannot be one."""
        self._key()

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        """What asking will cost: money from lengths in characters, seconds as nine in ten were so far."""
        seconds, costs = self._durations.usual, []
        for question, passages in zip(questions, contexts, strict=True):
            tokens = (
                sum(len(text) for text in self._messages(question, passages)) / _CHARACTERS_A_TOKEN
            )
            costs.append(Cost(seconds=seconds, usd=self._dollars(tokens, _ANSWER_TOKENS)))
        return costs

    def _one(
        self, question: str, passages: Sequence[Passage], key: str, deadline: Deadline | None
    ) -> Answer:
        """One question, asked until it is answered or there is no hope, or no time."""
        cost, reason = Cost(), ""
        for attempt in range(self.settings.retries + 1):
            if deadline is not None and (deadline.cancelled or deadline.remaining() == 0):
                reason = "did not answer in time" + (f" ({reason})" if reason else "")
                break
            began = time.monotonic()
            try:
                text, spent = self._in_turn(question, passages, key, deadline)
            except _AttemptError as failed:
                cost += Cost(seconds=time.monotonic() - began)
                reason = str(failed)
                if not failed.again or attempt == self.settings.retries:
                    break
                self._pause(attempt, failed.wait, deadline)
                continue
            seconds = time.monotonic() - began
            self._durations.add(seconds)
            return self._answered(question, passages, text, cost + spent + Cost(seconds=seconds))
        failure = f"{self.name} {reason}"
        return Answer(question, "", 0.0, agent=self.name, failure=failure, cost=cost)

    def _answered(
        self, question: str, passages: Sequence[Passage], text: str, cost: Cost
    ) -> Answer:
        nothing = Answer(question, "", 0.0, agent=self.name, abstained=True, cost=cost)
        text = text.strip()
        if not text or text.strip(" .\"'").upper() == NOTHING:
            return nothing
        found = locate(text, passages)
        given = replace(nothing, text=text, confidence=self.settings.confidence, abstained=False)
        if found is not None:
            i, start, end = found
            whole = passages[i].text[start:end]
            return replace(given, text=whole, passage=passages[i], start=start, end=end)
        if self.settings.extractive:
            failure = f"{self.name} said what stands in no passage: “{shorten(text)}”"
            return replace(nothing, abstained=False, failure=failure)
        return given

    def _in_turn(
        self, question: str, passages: Sequence[Passage], key: str, deadline: Deadline | None
    ) -> tuple[str, Cost]:
        """The same as `_ask`, once fewer than `concurrency` are asked."""
        if not self._places.acquire(timeout=None if deadline is None else deadline.remaining()):
            raise _AttemptError("has too many to answer at once", again=False)
        try:
            return self._ask(question, passages, key, deadline)
        finally:
            self._places.release()

    def _ask(
        self, question: str, passages: Sequence[Passage], key: str, deadline: Deadline | None
    ) -> tuple[str, Cost]:
        """The reply's text and its money. Raises _AttemptError."""
        settings = self.settings
        system, user = self._messages(question, passages)
        body = {
            "model": settings.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": user},
            ],
            "temperature": 0,
            "max_tokens": settings.max_tokens,
        }
        request = urllib.request.Request(
            f"{settings.url.rstrip('/')}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
        )
        left = None if deadline is None else deadline.remaining()
        limit = settings.timeout if left is None else max(0.01, min(settings.timeout, left))
        end = time.monotonic() + limit
        try:
            with _OPENER.open(request, timeout=limit) as response:
                reply = _read(response, end)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except TimeoutError:
            raise _AttemptError(f"did not answer within {limit:.3g} seconds", again=True) from None
        except (urllib.error.URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise _AttemptError(
                    f"did not answer within {limit:.3g} seconds", again=True
                ) from None
            said = getattr(reason, "strerror", None) or type(reason).__name__
            raise _AttemptError(f"cannot be reached ({said})", again=True) from None
        try:
            found = json.loads(reply)
            text = found["choices"][0]["message"]["content"]
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, LookupError, TypeError):
            raise _AttemptError("gave something else than a chat completion", again=True) from None
        return text, self._spent(found, system, user, text)

    def _refused(self, error: urllib.error.HTTPError) -> _AttemptError:
        code = error.code
        if code in {401, 403}:
            of = (
                f"the key in {self.settings.key}"
                if self.settings.key
                else "to answer without a key"
            )
            return _AttemptError(f"refused {of} ({code})", again=False)
        said = {429: "is asked too much", 404: f"knows no model {self.settings.model!r} at its url"}
        reason = f"{said.get(code, 'failed')} ({code})"
        try:
            wait = max(0.0, float(error.headers.get("Retry-After", "0")))
        except ValueError:  # a date, which nobody sends
            wait = 0.0
        if not wait <= _PATIENCE:
            return _AttemptError(f"{reason}, and says to ask again in {wait:.0f} seconds", False)
        return _AttemptError(reason, code in _AGAIN, wait)

    def _pause(self, attempt: int, least: float, deadline: Deadline | None) -> None:
        """Wait for a random part of twice as long each time, or as long as the server asks for."""
        with self._lock:
            part = self._random.random()
        wait = max(least, self._first_wait * 2**attempt * part)
        if deadline is None:
            time.sleep(wait)
        else:
            deadline.pause(wait)

    def _messages(self, question: str, passages: Sequence[Passage]) -> tuple[str, str]:
        shown = "\n\n".join(f"[{i}] {scrub(p.content)}" for i, p in enumerate(passages, start=1))
        return SYSTEM.format(nothing=NOTHING), f"{shown}\n\nQuestion: {scrub(question)}"

    def _spent(self, found: Any, system: str, user: str, text: str) -> Cost:
        """By the tokens that the server counted, else by lengths in characters."""
        usage = found.get("usage") if isinstance(found, dict) else None
        counted = usage if isinstance(usage, dict) else {}
        given = _count(counted.get("prompt_tokens"), system + user)
        said = _count(counted.get("completion_tokens"), text)
        return Cost(usd=self._dollars(given, said))

    def _dollars(self, tokens_in: float, tokens_out: float) -> float:
        settings = self.settings
        return (tokens_in * settings.dollars_in + tokens_out * settings.dollars_out) / 1e6

    def _key(self) -> str:
        variable = self.settings.key
        if not variable:
            return ""
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ConfigError(
                f"{self.name} needs a key: set {variable} in the environment, or take the agent out"
            )
        if not (key.isascii() and key.isprintable()):
            # Whoever sends it would say so, and print it.
            raise ConfigError(
                f"{self.name}: the key in {variable} has a character that no key has, such as a line "
                "break; set it anew"
            )
        return key


def _count(told: object, text: str) -> float:
    """The tokens of a text as a server counted them; by its length where that is no number of anything."""
    if isinstance(told, int | float) and 0 <= told < float("inf"):
        return told
    return len(text) / _CHARACTERS_A_TOKEN


def _read(response: HTTPResponse, end: float) -> bytes:
    """The whole reply; a server that sends a byte now and then does not hold anybody up for ever."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise _AttemptError("gave a reply of more than 4 MB", again=False)
        if time.monotonic() > end:
            raise TimeoutError
    return b"".join(parts)
