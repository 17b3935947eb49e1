"""What every agent says to every question: asked once, kept as it comes, and gone on with.

Whoever is paid for an answer is asked a question at a time, several at once, so that each answer is on disk
as soon as it is there. Who reads here and for nothing answers many together.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pointsman.data.files import made_directory
from pointsman.deadline import Deadline
from pointsman.errors import ReadOnlyError
from pointsman.protocols import Agent
from pointsman.trace import Cost
from pointsman.types import Answer, Passage

T = TypeVar("T")
U = TypeVar("U")

Show = Callable[[str, int, int], None]

_TOGETHER = 32


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Of n questions each agent's answer `texts` [n][A], None where it gave none, how likely it said that
    is right, its cost, and whether it `failed` [n, A].
    """

    texts: list[list[str | None]]
    sure: list[list[float | None]]
    costs: list[list[Cost]]
    failed: npt.NDArray[np.bool_]

    @property
    def failures(self) -> tuple[int, ...]:
        """How many times each agent failed."""
        return tuple(self.failed.sum(axis=0).tolist())

    def mean_cost(self) -> npt.NDArray[np.float64]:
        """What each agent took a question: GFLOPs, seconds, dollars [A, 3]."""
        return np.array(
            [
                np.mean([(row[j].gflops, row[j].seconds, row[j].usd) for row in self.costs], axis=0)
                for j in range(self.failed.shape[1])
            ]
        )


def collect(
    agents: Sequence[Agent],
    questions: Sequence[str],
    contexts: Sequence[Sequence[Passage]],
    path: Path,
    show: Show,
    deadline: Deadline | None = None,
    known_by: Sequence[str] | None = None,
    at_once: Sequence[int] | None = None,
) -> Record:
    """Ask every agent every question, but for what the file at `path` holds already.

    `known_by` [A] says what an agent's answers depend on beside its name, if anything. `at_once` [A] is how
    many calls of one question each an agent is asked in at a time: its every answer is kept when it comes,
    and after Ctrl-C or an error those under way are waited for and kept too. An agent of 0, as all are by
    default, answers 32 questions in one call, which are kept together. A failure is not kept, and is asked
    again next time. Raises what agents raise, and ReadOnlyError where nothing can be kept.
    """
    kept = _Kept(path)
    texts: list[list[str | None]] = [[None] * len(agents) for _ in questions]
    sure: list[list[float | None]] = [[None] * len(agents) for _ in questions]
    costs = [[Cost()] * len(agents) for _ in questions]
    failed = np.zeros((len(questions), len(agents)), dtype=bool)
    told, width = known_by or [""] * len(agents), at_once or [0] * len(agents)
    for j, (agent, more, many) in enumerate(zip(agents, told, width, strict=True)):
        who = [agent.name, more] if more else [agent.name]
        keys = [_key(who, *each) for each in zip(questions, contexts, strict=True)]
        # The same question about the same passages is asked once.
        new = list({key: i for i, key in enumerate(keys) if key not in kept.known}.values())
        for i, each in _failures(agent, many, new, keys, questions, contexts, kept, show, deadline):
            costs[i][j] = each.cost
        for i, key in enumerate(keys):
            failed[i, j] = key not in kept.known
            if not failed[i, j]:
                texts[i][j], sure[i][j], costs[i][j] = kept.known[key]
    return Record(texts, sure, costs, failed)


def _failures(
    agent: Agent,
    at_once: int,
    rows: Sequence[int],
    keys: Sequence[str],
    questions: Sequence[str],
    contexts: Sequence[Sequence[Passage]],
    kept: _Kept,
    show: Show,
    deadline: Deadline | None,
) -> list[tuple[int, Answer]]:
    """Ask one agent about these rows; what it answers is kept, and what it does not is given back."""

    def ask(some: Sequence[int]) -> list[tuple[int, Answer]]:
        answers = agent.answer([questions[i] for i in some], [contexts[i] for i in some], deadline)
        # Here, on the thread that asked: whoever waits for it may be interrupted.
        kept.add([keys[i] for i in some], answers)
        return [(i, answer) for i, answer in zip(some, answers, strict=True) if answer.failure]

    size = 1 if at_once else _TOGETHER
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    failed: list[tuple[int, Answer]] = []
    come = _on_threads(ask, parts, at_once) if at_once else (ask(part) for part in parts)
    with closing(come):
        for done, some in enumerate(come, 1):
            failed += some
            show(f"asking {agent.name}", min(done * size, len(rows)), len(rows))
    return failed


def _on_threads(
    work: Callable[[T], U], parts: Sequence[T], at_once: int
) -> Generator[U, None, None]:
    """What comes of each part, as it comes. Whatever ends this, what is under way is waited for."""
    pool, under_way = ThreadPoolExecutor(at_once), set[Future[U]]()
    try:
        for part in parts:
            if len(under_way) == at_once:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
            under_way.add(pool.submit(work, part))
        yield from (each.result() for each in as_completed(under_way))
    finally:
        pool.shutdown()


class _Kept:
    """The file of answers. Several threads may add to it."""

    def __init__(self, path: Path) -> None:
        made_directory(path.parent)
        self.known = _read(path)
        self._path = path
        self._adding = threading.Lock()

    def add(self, keys: Sequence[str], answers: Sequence[Answer]) -> None:
        """Keep what is no failure, on disk when this returns. Raises ReadOnlyError."""
        given = [(key, a) for key, a in zip(keys, answers, strict=True) if not a.failure]
        with self._adding:
            _append(self._path, [_line(*each) for each in given])
            self.known |= {key: (a.text or None, a.confidence, a.cost) for key, a in given}


def _read(path: Path) -> dict[str, tuple[str | None, float | None, Cost]]:
    """What is kept; a last line that was cut off by an interruption is asked again.

    Lines without a confidence count too: nobody is paid for the same answer again.
    """
    found: dict[str, tuple[str | None, float | None, Cost]] = {}
    if not path.is_file():
        return found
    # By line feeds alone: an answer may hold what else ends a line. A cut may go through a letter.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            each = json.loads(line)
            cost = Cost(*each["cost"])
            found[each["key"]] = (each["text"] or None, each.get("confidence"), cost)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _line(key: str, answer: Answer) -> dict[str, object]:
    cost = answer.cost
    return {
        "key": key,
        "text": answer.text,
        "cost": [cost.gflops, cost.seconds, cost.usd],
        "confidence": answer.confidence,
    }


def _append(path: Path, lines: Sequence[object]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            # A line of its own after one that was cut off.
            file.write("".join(f"\n{json.dumps(line, ensure_ascii=False)}" for line in lines))
    except OSError as error:
        raise ReadOnlyError(f"{path}: cannot be written ({error.strerror})") from error


def _key(who: Sequence[str], question: str, passages: Sequence[Passage]) -> str:
    told = [*who, question, *(passage.content for passage in passages)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]
