"""Real signals to this process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from pointsman.training.interrupt import Interrupt


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    # Whoever started the tests may have ignored it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_outside_a_hold_it_is_as_ever() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupt():
        ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_hold_ends_before_it_is_delivered() -> None:
    done: list[str] = []

    def work(interrupt: Interrupt) -> None:
        with interrupt.held():
            ctrl_c()
            assert interrupt.pending
            done.append("held")
        done.append("after")

    with Interrupt() as interrupt:
        with pytest.raises(KeyboardInterrupt):
            work(interrupt)
        assert not interrupt.pending
        with interrupt.held():
            pass
    assert done == ["held"]


def test_holds_within_holds() -> None:
    done: list[str] = []

    def work(interrupt: Interrupt) -> None:
        with interrupt.held():
            with interrupt.held():
                ctrl_c()
            done.append("still held")
            with interrupt.held(False):
                done.append("what was pending comes first")

    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt):
        work(interrupt)
    assert done == ["still held"]


def test_let_through_within_a_hold() -> None:
    with Interrupt() as interrupt, interrupt.held():
        with pytest.raises(KeyboardInterrupt), interrupt.held(False):
            ctrl_c()
        ctrl_c()
        assert interrupt.pending
        interrupt.pending = False


def test_an_error_in_a_hold_is_not_hidden() -> None:
    def work(interrupt: Interrupt) -> None:
        with interrupt.held():
            ctrl_c()
            raise ValueError("mine")

    with Interrupt() as interrupt, pytest.raises(ValueError, match="mine"):
        work(interrupt)


def test_another_handler_is_called_and_put_back() -> None:
    calls: list[int] = []

    def handler(number: int, frame: object) -> None:
        calls.append(number)

    signal.signal(signal.SIGINT, handler)
    with Interrupt():
        ctrl_c()
    assert calls == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler


def test_who_ignores_it_goes_on_ignoring_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupt() as interrupt, interrupt.held():
        ctrl_c()
        assert not interrupt.pending
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_in_another_thread_there_is_nothing_to_do() -> None:
    entered: list[bool] = []

    def work() -> None:
        with Interrupt() as interrupt, interrupt.held():
            entered.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]


def test_what_a_callback_would_swallow_is_delivered_between_two_parts() -> None:
    done: list[int] = []

    def work(interrupt: Interrupt) -> None:
        with interrupt.held():
            for part in range(3):
                if part == 1:
                    # As a library does that ends in somebody else's language.
                    with contextlib.suppress(KeyboardInterrupt):
                        ctrl_c()
                done.append(part)
                interrupt.deliver()

    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        work(interrupt)
    assert done == [0, 1]
