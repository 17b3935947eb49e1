"""Where an answer that somebody wrote stands in the passages that were shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pointsman.types import Passage

_WORD = re.compile(r"\w+", re.UNICODE)
_AROUND = " \t\n\"'“”‘’`.,;:!?()[]"


def locate(answer: str, passages: Sequence[Passage]) -> tuple[int, int, int] | None:
    """The passage's place, start and end of an answer; None where it stands in no passage.

    As it is, else without what stands around it, else word for word whatever stands between the words
    and however they are capitalised; in the first passage that holds it, and never within a word of a
    language that puts spaces between them. An answer without a word is nowhere.
    """
    words = _WORD.findall(answer)
    if not words:
        return None
    exact = (re.escape(answer.strip()), re.escape(answer.strip(_AROUND)))
    loose = r"\W+".join(re.escape(word) for word in words)
    for pattern in (*exact, f"(?i:{loose})"):
        for i, passage in enumerate(passages):
            if found := re.search(rf"(?<!\w){pattern}(?!\w)", passage.text):
                return i, found.start(), found.end()
    if not answer.isascii():
        wanted = answer.strip(_AROUND)
        for i, passage in enumerate(passages):
            if (start := passage.text.find(wanted)) >= 0:
                return i, start, start + len(wanted)
    return None
