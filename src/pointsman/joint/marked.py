"""What a reader is taught before it learns with a selector: marked passages, or the first in order."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.joint.asked import Asked
from pointsman.read.joined import Joined
from pointsman.read.marginal import Shown

AMONG = 4
"""So many passages a reader of joined ones sees when it is taught with others among them."""


def marked(asked: Sequence[Asked], *, joined: bool) -> list[Shown]:
    """What a reader is taught with the passages that are known to support an answer.

    One that reads them together also sees them among others, in the order of retrieval. A question
    without such passages is left out.
    """
    found = []
    for each in asked:
        support = [each.passages[i] for i in each.supporting]
        if not support:
            continue
        if not joined:
            found.append(
                Shown.all_of(each.question, [passage.text for passage in support], each.answers)
            )
            continue
        others = [i for i in range(len(each.passages)) if i not in each.supporting]
        places = sorted([*each.supporting, *others[: max(0, AMONG - len(support))]])
        among = [each.passages[i] for i in places]
        texts = (Joined.of(support).text, Joined.of(among).text)
        found.append(Shown(each.question, texts, each.answers, ((0,), (1,)), (0.5, 0.5)))
    return found


def first(asked: Sequence[Asked], passages: int, *, joined: bool) -> list[Shown]:
    """The first so many passages of every question, in the order of retrieval."""
    found = []
    for each in asked:
        some = each.passages[:passages]
        texts = [Joined.of(some).text] if joined else [passage.text for passage in some]
        found.append(Shown.all_of(each.question, texts, each.answers))
    return found
