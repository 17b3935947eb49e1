"""A reader of several passages as one text: the order matters, and what one says of another is seen.

Questions that take several passages may have an answer that stands in none: "yes" and "no" stand before
the passages, so that they are spans like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from pointsman.deadline import Deadline
from pointsman.protocols import Reader
from pointsman.read.likelihood import SpanLikelihood, mentions
from pointsman.read.reader import SpanReader
from pointsman.types import Passage, Reading, Span

WORDS = ("yes", "no")

_BETWEEN = "\n"
_HEAD = " ".join(WORDS)
# Spans over a border are left out afterwards, so a few more are asked for.
_MORE = 8


@dataclass(frozen=True, slots=True)
class Joined:
    """Passages as one text: WORDS, then each passage's title and text, a line each."""

    text: str
    passages: tuple[Passage, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> Joined:
        """In the order in which they are given."""
        parts = [_HEAD, *(passage.content for passage in passages)]
        starts = accumulate((len(part) + len(_BETWEEN) for part in parts[:-1]), initial=0)
        return cls(_BETWEEN.join(parts), tuple(passages), tuple(starts)[1:])

    def located(self, span: Span) -> Span | None:
        """A span of the text as one of a passage; None for one over a border.

        One of WORDS, and one of a title, has no place in a passage's text: `start` and `end` are 0, and
        the passage is the first, or the title's.
        """
        if span.end <= len(_HEAD):
            word = self.text[span.start : span.end]
            return replace(span, passage=0, start=0, end=0) if word in WORDS else None
        for number, (start, passage) in enumerate(zip(self.starts, self.passages, strict=True)):
            if start <= span.start and span.end <= start + len(passage.content):
                # Where the text begins in the content.
                begin = start + len(passage.content) - len(passage.text)
                if span.start >= begin:
                    place = span.start - begin
                    return replace(
                        span, passage=number, start=place, end=span.end - span.start + place
                    )
                title_end = start + len(passage.title)
                inside = span.end <= title_end
                return replace(span, passage=number, start=0, end=0) if inside else None
        return None


class JoinedReader:
    """A span reader on joined passages (protocol `Reader`); with none it says that there is no answer."""

    def __init__(self, reader: SpanReader) -> None:
        self.reader = reader

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        n_best: int = 1,
        deadline: Deadline | None = None,
    ) -> list[Reading]:
        """Read each question's passages together; windows where they are longer than the reader reads."""
        joined = [Joined.of(given) for given in passages]
        shown = [[Passage("", each.text)] if each.passages else [] for each in joined]
        readings = self.reader.read(questions, shown, n_best=n_best + _MORE, deadline=deadline)
        found = []
        for each, reading in zip(joined, readings, strict=True):
            located = [each.located(span) for span in reading.spans]
            spans = tuple(span for span in located if span is not None)[:n_best]
            found.append(replace(reading, spans=spans))
        return found


def as_read(reader: SpanReader) -> Reader:
    """A span reader as its settings say that it reads: passage by passage, or joined."""
    return JoinedReader(reader) if reader.settings.joined else reader


class JoinedLikelihood:
    """The likelihood of answers under a reader of joined passages (protocol `Likelihood`)."""

    def __init__(self, reader: SpanReader) -> None:
        self._spans = SpanLikelihood(reader, find)

    def log_likelihood(
        self, question: str, passages: Sequence[Passage], answers: Sequence[str]
    ) -> float:
        """log p(answers | question, passages in this order); -inf where none stands in them."""
        return self._spans.log_likelihood(
            question, [Passage("", Joined.of(passages).text)], answers
        )


def find(text: str, answers: Sequence[str]) -> list[tuple[int, int]]:
    """Where answers stand in a joined text: yes and no before the passages alone, others behind.

    A passage that says "no" somewhere does not answer a question with it.
    """
    said = [answer for answer in answers if answer.strip().lower() in WORDS]
    others = [answer for answer in answers if answer.strip().lower() not in WORDS]
    skipped = len(_HEAD) + len(_BETWEEN)
    behind = mentions(text[skipped:], others)
    return mentions(_HEAD, said) + [(start + skipped, end + skipped) for start, end in behind]
