"""What every agent says to every question: asked once, kept as it comes, and gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
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
from pointsman.types import Passage

T = TypeVar("T")

Show = Callable[[str, int, int], None]

_TOGETHER = 32


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Of n questions each agent's answer `texts` [n][A], None where it gave none, how likely it said that
    is right, its cost, and how many times each agent failed.
    """

    texts: list[list[str | None]]
    sure: list[list[float | None]]
    costs: list[list[Cost]]
    failures: tuple[int, ...]

    @classmethod
    def beside(cls, records: Sequence[Record]) -> Record:
        """Several agents' records of the same questions as one."""

        def joined(rows: Iterable[tuple[list[T], ...]]) -> list[list[T]]:
            return [[each for part in row for each in part] for row in rows]

        return cls(
            joined(zip(*(each.texts for each in records), strict=True)),
            joined(zip(*(each.sure for each in records), strict=True)),
            joined(zip(*(each.costs for each in records), strict=True)),
            tuple(count for each in records for count in each.failures),
        )

    def mean_cost(self) -> npt.NDArray[np.float64]:
        """What each agent took a question: GFLOPs, seconds, dollars [A, 3]."""
        return np.array(
            [
                np.mean([(row[j].gflops, row[j].seconds, row[j].usd) for row in self.costs], axis=0)
                for j in range(len(self.failures))
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
) -> Record:
    """Ask every agent every question, but for what the file at `path` holds already.

    `known_by` says for each agent what its answers depend on beside its name, if anything. Each answer is kept there as soon as it is given; a failure is not, and is asked again next time. An
    agent answers many questions in one call, which one far away asks at once. Raises what agents raise,
    and ReadOnlyError where nothing can be kept.
    """
    known = _read(path)
    texts: list[list[str | None]] = [[None] * len(agents) for _ in questions]
    sure: list[list[float | None]] = [[None] * len(agents) for _ in questions]
    costs = [[Cost()] * len(agents) for _ in questions]
    failures = [0] * len(agents)
    made_directory(path.parent)
    told = known_by or [""] * len(agents)
    for j, (agent, more) in enumerate(zip(agents, told, strict=True)):
        who = [agent.name, more] if more else [agent.name]
        keys = [_key(who, *each) for each in zip(questions, contexts, strict=True)]
        open_ = [i for i, key in enumerate(keys) if key not in known]
        for start in range(0, len(open_), _TOGETHER):
            show(f"asking {agent.name}", start, len(open_))
            some = open_[start : start + _TOGETHER]
            given = agent.answer(
                [questions[i] for i in some], [contexts[i] for i in some], deadline
            )
            lines = []
            for i, answer in zip(some, given, strict=True):
                if answer.failure:
                    failures[j] += 1
                    costs[i][j] = answer.cost
                    continue
                cost = answer.cost
                known[keys[i]] = (answer.text or None, answer.confidence, cost)
                spent = [cost.gflops, cost.seconds, cost.usd]
                line = {"key": keys[i], "text": answer.text, "cost": spent}
                lines.append(line | {"confidence": answer.confidence})
            _append(path, lines)
        for i, key in enumerate(keys):
            if key in known:
                texts[i][j], sure[i][j], costs[i][j] = known[key]
    return Record(texts, sure, costs, tuple(failures))


def _read(path: Path) -> dict[str, tuple[str | None, float | None, Cost]]:
    """What is kept; a last line that was cut off by an interruption is asked again.

    Lines without a confidence count too: nobody is paid for the same answer again.
    """
    found: dict[str, tuple[str | None, float | None, Cost]] = {}
    if not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            each = json.loads(line)
            cost = Cost(*each["cost"])
            found[each["key"]] = (each["text"] or None, each.get("confidence"), cost)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


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
