"""What agents say is kept as it comes: nobody is paid twice for an answer, whatever ends the asking."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pointsman.deadline import Deadline
from pointsman.defer.record import Record, collect
from pointsman.errors import ConfigError
from pointsman.trace import Cost
from pointsman.types import Answer, Passage

QUESTIONS = [f"what is {i}" for i in range(100)]
CONTEXTS = [[Passage(f"p{i}", f"{i} is red")] for i in range(100)]


class Paid:
    """An agent that counts what it answered, and raises `ending` once, when `after` were answered."""

    name = "paid"

    def __init__(self, after: int = 1_000, ending: BaseException | None = None) -> None:
        self.answered: list[str] = []
        self._after, self._ending = after, ending
        self._lock = threading.Lock()

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[Sequence[Passage]],
        deadline: Deadline | None = None,
    ) -> list[Answer]:
        with self._lock:
            ending = self._ending
            if ending is not None and len(self.answered) >= self._after:
                self._ending = None
                raise ending
            self.answered += questions
        return [Answer(each, "red", 0.5, agent=self.name, cost=Cost(usd=1)) for each in questions]

    def estimate(
        self, questions: Sequence[str], contexts: Sequence[Sequence[Passage]]
    ) -> list[Cost]:
        return [Cost(usd=1)] * len(questions)


def ask(agent: Paid, path: Path, at_once: int) -> Record:
    return collect([agent], QUESTIONS, CONTEXTS, path, lambda *_: None, at_once=[at_once])


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("ending", [KeyboardInterrupt(), ConfigError("no key")])
def test_every_answer_that_was_paid_is_kept(
    tmp_path: Path, at_once: int, ending: BaseException
) -> None:
    path = tmp_path / "answers.jsonl"
    stopped = Paid(after=45, ending=ending)
    with pytest.raises(type(ending)):
        ask(stopped, path, at_once)
    # Those that were under way are kept too, and nothing begins that had not.
    assert 45 <= len(stopped.answered) < 45 + at_once
    lines = [line for line in path.read_text("utf-8").split("\n") if line]
    assert len(lines) == len(stopped.answered)
    again = Paid()
    record = ask(again, path, at_once)
    assert sorted(stopped.answered + again.answered) == sorted(QUESTIONS)
    assert [row[0] for row in record.texts] == ["red"] * 100
    assert record.mean_cost()[0, 2] == 1


def test_an_interruption_while_progress_is_shown_begins_nothing_more(tmp_path: Path) -> None:
    path, agent = tmp_path / "answers.jsonl", Paid()

    def show(what: str, done: int, total: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect([agent], QUESTIONS, CONTEXTS, path, show, at_once=[2])
    begun = len(agent.answered)
    assert sum(1 for line in path.read_text("utf-8").split("\n") if line) == begun


def test_who_is_asked_together_is_kept_together(tmp_path: Path) -> None:
    path, agent = tmp_path / "answers.jsonl", Paid(after=64, ending=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ask(agent, path, 0)
    assert agent.answered == QUESTIONS[:64]
    again = Paid()
    ask(again, path, 0)
    assert again.answered == QUESTIONS[64:]


def test_the_same_question_is_paid_once(tmp_path: Path) -> None:
    agent = Paid()
    twice = [*QUESTIONS[:3], *QUESTIONS[:3]], [*CONTEXTS[:3], *CONTEXTS[:3]]
    record = collect([agent], *twice, tmp_path / "a.jsonl", lambda *_: None, at_once=[2])
    assert sorted(agent.answered) == QUESTIONS[:3]
    assert [row[0] for row in record.texts] == ["red"] * 6


def test_a_file_that_an_interruption_left_in_the_middle_of_a_letter(tmp_path: Path) -> None:
    """And an answer that holds what some take for the end of a line."""

    class Foreign(Paid):
        def answer(self, *args: object, **more: object) -> list[Answer]:
            given = super().answer(*args, **more)  # type: ignore[arg-type]
            return [
                Answer(each.question, "r\u2028\x85é", 0.5, agent=self.name, cost=each.cost)
                for each in given
            ]

    path = tmp_path / "answers.jsonl"
    ask(Foreign(), path, 1)
    again = Foreign()
    assert ask(again, path, 1).texts[7] == ["r\u2028\x85é"]
    assert again.answered == []
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex("é".encode()) + 1])
    last = Foreign()
    ask(last, path, 1)
    assert len(last.answered) == 1
