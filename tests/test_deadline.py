"""Deadlines: they run out, can be cancelled from elsewhere, and say during what."""

from __future__ import annotations

import threading
import time

import pytest

from pointsman.deadline import Deadline
from pointsman.errors import DeadlineError


def test_without_seconds_it_never_runs_out() -> None:
    deadline = Deadline()
    assert deadline.remaining() is None
    deadline.check("waiting")


def test_remaining_falls_to_zero_and_not_below() -> None:
    deadline = Deadline(0.02)
    first = deadline.remaining()
    assert first is not None
    assert 0 < first <= 0.02
    deadline.check("starting")
    time.sleep(0.03)
    assert deadline.remaining() == 0.0
    with pytest.raises(DeadlineError, match="the deadline passed while reading; allow more time"):
        deadline.check("reading")


def test_cancelling_in_one_thread_is_seen_in_another() -> None:
    deadline = Deadline(60)
    seen: list[str] = []

    def work() -> None:
        try:
            while True:
                deadline.check("working")
                time.sleep(0.001)
        except DeadlineError as error:
            seen.append(str(error))

    worker = threading.Thread(target=work)
    worker.start()
    deadline.cancel()
    worker.join(timeout=30)
    assert seen == ["cancelled while working"]


def test_cancelled_stays_cancelled_and_comes_before_late() -> None:
    deadline = Deadline(1e-9)
    deadline.cancel()
    for _ in range(2):
        with pytest.raises(DeadlineError, match="cancelled while counting"):
            deadline.check("counting")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_deadline_lies_in_the_future(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"seconds must be > 0, not {seconds}"):
        Deadline(seconds)
