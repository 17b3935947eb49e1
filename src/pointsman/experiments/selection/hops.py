"""Questions that need several paragraphs: five folds of them, and others that are always in training.

What is always in training teaches selector and reader apart, from marked passages; the other folds'
questions teach the two together. Candidates are a question's own paragraphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pointsman.backbone.encoder import Backbone
from pointsman.data.draw import drawn
from pointsman.data.multihop import MultihopQuestion, read_multihop
from pointsman.data.splits import refuse_overlap, without
from pointsman.data.testbed import check_files
from pointsman.experiments.selection.bed import Bed
from pointsman.joint.asked import Asked
from pointsman.joint.marked import marked
from pointsman.joint.source import given
from pointsman.read.joined import WORDS

ALWAYS = ("hotpotqa-train100", "2wiki-train500", "musique-train100")
TESTED = ("hotpotqa-dev500", "2wiki-dev164")
FOLDS = 5
SPANS, SAID = "answers in the passages", "yes or no"

_DEV = 80  # questions of the other folds that choose
_CANDIDATES = 10


def load_folds(
    data: Path, backbone: Backbone, limit: int | None = None, seed: int = 0
) -> list[Bed]:
    """A bed for each fold. `limit` bounds the questions of each file.

    Raises InputError where a file is missing, or a question that is always in training is a fold's.
    """
    tested = _asked(data, backbone, TESTED, limit, seed)
    always = _asked(data, backbone, ALWAYS, limit, seed)
    beds = []
    for fold in range(FOLDS):
        held = tested[fold::FOLDS]
        asked = [each.question for each in held]
        rest = [each for number, each in enumerate(tested) if number % FOLDS != fold]
        rest = without(rest, asked, lambda each: each.question)
        some = set(drawn(len(rest), min(_DEV, len(rest) // 4), seed))
        refuse_overlap([each.question for each in always], asked, ", ".join(ALWAYS))
        beds.append(
            Bed(
                marked(always, joined=True),
                always,
                [each for number, each in enumerate(rest) if number not in some],
                [each for number, each in enumerate(rest) if number in some],
                {kind: [each for each in held if kind_of(each) == kind] for kind in (SPANS, SAID)},
            )
        )
    return beds


def kind_of(asked: Asked) -> str:
    """Whether an answer is a span of the passages or said before them."""
    return SAID if asked.answers[0].strip().lower() in WORDS else SPANS


def _asked(
    data: Path, backbone: Backbone, names: Sequence[str], limit: int | None, seed: int
) -> list[Asked]:
    found: list[MultihopQuestion] = []
    for name in names:
        file = data / "multihop" / f"{name}.jsonl"
        check_files(data, [file])
        questions = list(read_multihop(file))
        found += [questions[i] for i in drawn(len(questions), limit, seed)]
    return [each.first(_CANDIDATES) for each in given(backbone, found)]
