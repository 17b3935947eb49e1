"""What a selector and a reader are worth together: the answers, and what the reader was shown for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.reading import exact_match, f1
from pointsman.joint.asked import Asked
from pointsman.protocols import Reader, Selector
from pointsman.read.likelihood import mentions
from pointsman.types import Passage, Selection

CUTS = (1, 3, 5)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """Of each question [q]: `em` and `f1` of the best answer, `recall` at each of CUTS (the answer stands
    in the first so many, in the selector's order), `precision` and `found` of supporting passages among
    those read, NaN where none is known, how many `passages` were read, and whether an answer was `held`
    by any of those.
    """

    em: Floats
    f1: Floats
    recall: Mapping[int, Floats]
    precision: Floats
    found: Floats
    passages: Floats
    held: Floats

    @classmethod
    def of(cls, columns: npt.ArrayLike) -> Measured:
        """From `columns`."""
        em, f1s, precision, found, passages, held, *recall = np.asarray(columns, dtype=np.float64)
        return cls(em, f1s, dict(zip(CUTS, recall, strict=True)), precision, found, passages, held)

    @property
    def columns(self) -> Floats:
        """All of it as one array [6 + CUTS, q]."""
        columns = (self.em, self.f1, self.precision, self.found, self.passages, self.held)
        return np.stack([*columns, *(self.recall[k] for k in CUTS)])

    def means(self) -> dict[str, float]:
        """Percentages, and the mean number of passages."""
        return {
            "em": 100 * float(self.em.mean()),
            "f1": 100 * float(self.f1.mean()),
            **{f"recall@{k}": 100 * float(each.mean()) for k, each in self.recall.items()},
            "passages": float(self.passages.mean()),
        }


def measure(asked: Sequence[Asked], selector: Selector, reader: Reader) -> Measured:
    """Select, read, and compare with the answers. Raises what the two raise."""
    selected = selector.select(
        [each.question for each in asked],
        [each.passages for each in asked],
        [each.relevance for each in asked],
    )
    return measured(asked, selected, reader)


def measured(asked: Sequence[Asked], selected: Sequence[Selection], reader: Reader) -> Measured:
    """The same of selections that were made before."""
    shown = [chosen.of(each.passages) for each, chosen in zip(asked, selected, strict=True)]
    readings = reader.read([each.question for each in asked], shown)
    said = [reading.spans[0].text if reading.spans else "" for reading in readings]
    rows = [
        _row(each, chosen, text) for each, chosen, text in zip(asked, selected, said, strict=True)
    ]
    return Measured.of(np.array(rows, dtype=np.float64).reshape(len(rows), 6 + len(CUTS)).T)


def ranked(selection: Selection, candidates: int) -> list[int]:
    """All candidates in a selector's order: the chosen ones, then the others by how likely they were."""
    order = selection.order.tolist()
    rest = [i for i in range(candidates) if i not in set(order)]
    if selection.chances is not None:
        chances = selection.chances
        rest.sort(key=lambda i: -float(chances[i]))
    return [*order, *rest]


def _row(asked: Asked, chosen: Selection, said: str) -> list[float]:
    order = chosen.order.tolist()
    holding = {i for i, passage in enumerate(asked.passages) if _holds(passage, asked.answers)}
    support = set(asked.supporting)
    right = len(support.intersection(order))
    best = ranked(chosen, len(asked.passages))
    return [
        exact_match(said, asked.answers),
        f1(said, asked.answers),
        right / len(order) if support and order else np.nan,
        right / len(support) if support else np.nan,
        len(order),
        float(bool(holding.intersection(order))),
        *(float(bool(holding.intersection(best[:k]))) for k in CUTS),
    ]


def _holds(passage: Passage, answers: Sequence[str]) -> bool:
    return bool(mentions(passage.text, answers))
