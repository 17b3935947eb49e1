"""What the deferral tables are made from: questions with every agent's recorded answer and what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.backbone.encoder import Backbone
from pointsman.data.arrays import ArrayCache
from pointsman.data.recorded import read_judged_answers, read_predictions
from pointsman.data.squad import read_squad
from pointsman.data.testbed import check_files
from pointsman.defer.allocator import Judge
from pointsman.defer.before import vectors
from pointsman.defer.candidates import Said, said
from pointsman.evaluate.groups import numbered
from pointsman.evaluate.reading import exact_match, f1, normalize_answer
from pointsman.experiments.deferral.published import JUDGED, SQUAD
from pointsman.experiments.report import Show
from pointsman.types import Passage, ReadingExample

Floats = npt.NDArray[np.float64]
FOLDS = 5
GFLOPS = "GFLOPs"

# Of every five articles these are in squad-articles' training part (docs/data.md).
_LEARNED = (0, 1, 2)
_PROBED = 8


@dataclass(frozen=True, eq=False)
class Bed:
    """n questions, A agents from the cheapest on: whether each answer is right `em` [n, A], its `f1`
    [n, A], whether it begins and `ends` [n, A, 2] where a right one does, what each agent takes,
    `units` [A], and what is known before anyone is asked, `features` [n, d]. `clusters` [n] are not
    resampled apart, and no fold [n] shares one with another. `sets` [n] is the data set that each is
    from, `pairs` [n] are question and context.

    `units` are means; `costs` [n, A], by which is decided, is what each question takes of each agent, and
    `encoding` [n] what a look at the question before anyone is asked takes, both in the same `unit`. Where
    costs are published proportions every question takes the mean, and looking, which has no place among
    them, nothing. `note` is what a reader of its tables should know.
    """

    name: str
    agents: tuple[str, ...]
    units: Floats
    unit: str
    said: Said
    em: Floats
    f1: Floats
    ends: Floats
    clusters: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    missing: int
    sets: npt.NDArray[np.int64]
    pairs: Sequence[tuple[str, str]]
    costs: Floats
    encoding: Floats
    note: str = ""

    @property
    def counted(self) -> bool:
        """Whether costs were counted, in GFLOPs, question by question."""
        return self.unit == GFLOPS

    def __len__(self) -> int:
        return len(self.em)

    @classmethod
    def stacked(cls, beds: Sequence[Bed]) -> Bed:
        """The questions of several beds with the same agents."""
        one = beds[0]

        def both(what: str) -> npt.NDArray[Any]:
            return np.concatenate([getattr(bed, what) for bed in beds])

        by_question: dict[str, Any] = {what: both(what) for what in _BY_QUESTION}
        whole = replace(one, said=Said.stacked([bed.said for bed in beds]), **by_question)
        return replace(
            whole,
            missing=sum(bed.missing for bed in beds),
            pairs=[pair for bed in beds for pair in bed.pairs],
        )

    def take(self, rows: npt.NDArray[np.int64]) -> Bed:
        """These questions alone."""
        by_question: dict[str, Any] = {what: getattr(self, what)[rows] for what in _BY_QUESTION}
        pairs = [self.pairs[i] for i in rows.tolist()]
        return replace(self, said=self.said.take(rows), pairs=pairs, **by_question)


_BY_QUESTION = (
    "em",
    "f1",
    "ends",
    "clusters",
    "folds",
    "features",
    "sets",
    "costs",
    "encoding",
)


def squad(
    data: Path,
    backbone: Backbone,
    cache: ArrayCache,
    show: Show,
    limit: int | None = None,
) -> Bed:
    """Ten readers on SQuAD's dev set, folds by article. Raises InputError where a file is not there."""
    return _ten_readers(data, backbone, cache, show, _squad_dev(data)[:limit], None)


def looked_at(
    data: Path,
    backbone: Backbone,
    cache: ArrayCache,
    show: Show,
    judge: Judge,
    limit: int | None = None,
) -> Bed | None:
    """The same on the articles that our reader, the `judge`, did not learn from; None for too few of them."""
    examples = _squad_dev(data)
    articles = numbered(example.cluster for example in examples)
    new = [e for e, i in zip(examples, articles, strict=True) if i % FOLDS not in _LEARNED][:limit]
    if len({each.cluster for each in new}) < FOLDS:
        return None
    return _ten_readers(data, backbone, cache, show, new, judge)


def _squad_dev(data: Path) -> list[ReadingExample]:
    file = data / "squad" / "squad-dev-v1.1.json"
    check_files(data, [file])
    return list(read_squad(file))


def _ten_readers(
    data: Path,
    backbone: Backbone,
    cache: ArrayCache,
    show: Show,
    examples: Sequence[ReadingExample],
    judge: Judge | None,
) -> Bed:
    names, published = zip(*sorted(SQUAD.values(), key=lambda each: each[1]), strict=True)
    units = np.array(published)
    files = {name: key for key, (name, _) in SQUAD.items()}
    columns = []
    for name in names:
        recorded = data / "agents" / "squad-v1.1" / f"{files[name]}.json"
        check_files(data, [recorded])
        columns.append(read_predictions(recorded))
    answers = [[column.get(example.id) for column in columns] for example in examples]
    right = [example.answers for example in examples]
    clusters = numbered(example.cluster for example in examples)
    questions = [example.question for example in examples]
    contexts = [example.context for example in examples]
    looked = None
    if judge is not None:
        show("looking at the passages", 0, len(questions))
        passages = [[Passage("", context)] for context in contexts]
        # Another reader, or another way of reading, says something else of the first questions.
        probe = judge(questions[:_PROBED], passages[:_PROBED], answers[:_PROBED]).log_p.tolist()
        key = (probe, questions, contexts, answers)
        looked = cache.get(
            "deferral-looked", key, lambda: judge(questions, passages, answers).log_p
        )
    return Bed(
        "ten readers, SQuAD" if judge is None else "ten readers, looked at",
        names,
        units,
        "million parameters",
        said(questions, contexts, answers, looked=looked),
        scored(answers, right, exact_match),
        scored(answers, right, f1),
        both_ends(answers, right),
        clusters,
        clusters % FOLDS,
        before(backbone, questions, contexts, cache, show),
        sum(text is None for row in answers for text in row),
        np.zeros(len(answers), dtype=np.int64),
        list(zip(questions, contexts, strict=True)),
        *proportions(units, len(answers)),
    )


def judged(
    data: Path, backbone: Backbone, cache: ArrayCache, show: Show, limit: int | None = None
) -> Bed:
    """Five open-domain systems that people judged, the test part, folds at random by question."""
    file = data / "agents" / "evouna-nq-test.json"
    check_files(data, [file])
    found = read_judged_answers(file)[:limit]
    order = sorted(JUDGED, key=lambda key: JUDGED[key][1])
    right = np.array([[float(each.right.get(key, False)) for key in order] for each in found])
    units = np.array([JUDGED[key][1] for key in order])
    questions = [each.question for each in found]
    answers = [[each.answers.get(key) for key in order] for each in found]
    nothing = [""] * len(found)
    return Bed(
        "five systems, judged by people",
        tuple(JUDGED[key][0] for key in order),
        units,
        "dollars for a thousand",
        said(questions, nothing, answers),
        right,
        scored(answers, [golden(each.golden) for each in found], f1),
        np.stack([right, right], axis=-1),  # people judged whole answers
        np.arange(len(found)),
        np.random.default_rng(0).permutation(len(found)) % FOLDS,
        before(backbone, questions, nothing, cache, show),
        sum(text is None for row in answers for text in row),
        np.zeros(len(answers), dtype=np.int64),
        list(zip(questions, nothing, strict=True)),
        *proportions(units, len(answers)),
        "EM is what people call right. F1 is of all that a system said, whole sentences for the most part, "
        "with the golden answers.",
    )


def golden(listed: str) -> list[str]:
    """The right answers of a judged question, which its file divides by slashes; and all of it, since a name
    may hold one.
    """
    parts = [listed, *listed.split("/")]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def proportions(units: Floats, count: int) -> tuple[Floats, Floats]:
    """Costs [n, A] of so many questions that all take the same, and what looking takes, which is unknown."""
    return np.tile(units, (count, 1)), np.zeros(count)


def scored(
    answers: Sequence[Sequence[str | None]],
    right: Sequence[Sequence[str]],
    score: Callable[[str, Sequence[str]], float],
) -> Floats:
    """What each agent's answer [n][A] is worth against the right ones [n][...]; 0 where it gave none, and
    where nothing is right.
    """
    return np.array(
        [
            [score(text, golden) if text is not None and golden else 0.0 for text in row]
            for row, golden in zip(answers, right, strict=True)
        ],
        dtype=np.float64,
    )


def both_ends(answers: Sequence[Sequence[str | None]], right: Sequence[Sequence[str]]) -> Floats:
    """Whether each answer begins and ends [n, A, 2] where a right one does, as far as words tell: what was
    recorded has no offsets.
    """

    def alike(place: int) -> Callable[[str, Sequence[str]], float]:
        def score(text: str, golden: Sequence[str]) -> float:
            mine, *others = (normalize_answer(each).split() for each in (text, *golden))
            return float(any(mine and other and mine[place] == other[place] for other in others))

        return score

    return np.stack([scored(answers, right, alike(place)) for place in (0, -1)], axis=-1)


def before(
    backbone: Backbone,
    questions: Sequence[str],
    contexts: Sequence[str],
    cache: ArrayCache,
    show: Show,
) -> npt.NDArray[np.float32]:
    """What is known before anyone is asked [n, d], of the question alone where there is no context; kept."""

    def encode() -> npt.NDArray[np.float32]:
        show("encoding", 0, len(questions))
        if any(contexts):
            return vectors(backbone, questions, contexts)
        return backbone.encode(questions, prompt="query")

    key = (backbone.identity.sha256, list(questions), list(contexts))
    return np.asarray(cache.get("deferral-before", key, encode), dtype=np.float32)
