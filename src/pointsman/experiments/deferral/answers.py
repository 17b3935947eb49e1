"""What readers of our own said, as places in the passages: small files that go with the tables.

To train the readers and ask them takes hours. With these files another machine makes the tables anew in
minutes, and no text of a passage stands in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.data.arrays import reading_arrays, write_arrays
from pointsman.data.files import made_directory
from pointsman.experiments.deferral.bed import Floats
from pointsman.experiments.deferral.spans import Span
from pointsman.experiments.report import Show
from pointsman.protocols import Agent
from pointsman.types import Answer, Passage, ReadingExample

Rows = Mapping[int, npt.NDArray[np.float32]]
"""A question's digest -> where its answer begins and ends, how sure the reader is, and GFLOPs [4]."""

# So many answers are kept at a time: one in a long document takes seconds.
_TOGETHER = 32
_NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Replies:
    """A reader's answers to n questions: their `texts` and where these stand, `spans` [n], None for no
    answer; how `sure` of each the reader is; and what each took, in `gflops` [n].
    """

    texts: list[str | None]
    spans: list[Span | None]
    sure: list[float | None]
    gflops: Floats


class Answers:
    """One file for each reader. Raises ReadOnlyError where the folder cannot be made."""

    def __init__(self, folder: Path) -> None:
        self._folder = made_directory(folder)

    def of(
        self,
        key: str,
        agent: Callable[[], Agent],
        examples: Sequence[ReadingExample],
        show: Show,
    ) -> Replies:
        """What the reader known by `key` says of each example's question in its context.

        `agent` is made where something is not kept yet. Raises FormatError for a file that is not whole.
        """
        path = self._folder / f"{key}.npz"
        kept = dict(_read(path))
        digests = [_digest(each) for each in examples]
        first = dict(zip(digests, examples, strict=True))
        new = [digest for digest in first if digest not in kept]
        for start in range(0, len(new), _TOGETHER):
            some = new[start : start + _TOGETHER]
            asked = agent()
            show(f"asking {asked.name}", start, len(new))
            given = asked.answer(
                [first[digest].question for digest in some],
                [[Passage(first[digest].id, first[digest].context)] for digest in some],
            )
            kept |= zip(some, map(_row, given), strict=True)
            _write(path, kept)
        rows = np.array([kept[digest] for digest in digests], dtype=np.float64).reshape(-1, 4)
        spans = [None if begin == _NOWHERE else (int(begin), int(end)) for begin, end, *_ in rows]
        return Replies(
            [
                None if span is None else each.context[slice(*span)]
                for each, span in zip(examples, spans, strict=True)
            ],
            list(spans),
            rows[:, 2].tolist(),
            rows[:, 3],
        )


def _row(answer: Answer) -> npt.NDArray[np.float32]:
    begin, end = (answer.start, answer.end) if answer.text else (_NOWHERE, _NOWHERE)
    # As it will be read again, so that a table is the same whoever asked.
    return np.array([begin, end, answer.confidence, answer.cost.gflops], dtype=np.float32)


def _digest(example: ReadingExample) -> int:
    said = json.dumps([example.question, example.context])
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big")


def _read(path: Path) -> Rows:
    if not path.exists():
        return {}
    with reading_arrays(path, "answers of a reader") as file:
        return dict(zip(file["asked"].tolist(), file["rows"], strict=True))


def _write(path: Path, kept: Rows) -> None:
    asked = np.array(list(kept), dtype=np.uint64)
    write_arrays(path, {"asked": asked, "rows": np.stack(list(kept.values()))})
