"""How an answer looks: marked in its sentence, with its source, its confidence and its way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from pointsman.cli.output import duration
from pointsman.trace import Trace, shorten

if TYPE_CHECKING:
    from pointsman.types import Answer

# A full stop ends a sentence unless the word before it has one or two letters and a capital ("St.",
# "J.") or dots of its own ("e.g."), or a small letter follows; so does an empty line. Chinese and
# Japanese put no space.
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z]\.)(?<!\b[A-Z]\w\.)(?<!\.\w\.)(?:(?<=[.!?])|(?<=[.!?][\"”’)]))\s+(?=[^a-z\s])"
    r"|(?<=[。！？])\s*|\n\s*\n"
)
_LONGEST = 320


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of text around an answer, on one line; an ellipsis where a sentence is cut."""

    before: str
    marked: str
    after: str

    def text(self, marks: bool) -> Text:
        """For a console: between ▸ and ◂ with `marks`, else as a highlighter leaves it."""
        shown = f"▸{self.marked}◂" if marks else self.marked
        return Text.assemble(
            self.before, (shown, "" if marks else "bold black on yellow"), self.after
        )


def excerpt(text: str, start: int, end: int, longest: int = _LONGEST) -> Excerpt:
    """The sentence (or sentences) of `text` that holds `text[start:end]`.

    A sentence of more than `longest` characters is cut at words on both sides of the answer.
    """
    ends = [match.span() for match in _SENTENCE_END.finditer(text)]
    first = max((stop for _, stop in ends if stop <= start), default=0)
    last = min((begin for begin, _ in ends if begin >= end), default=len(text))
    before, marked, after = text[first:start], text[start:end], text[end:last]
    room = max(0, longest - len(marked))
    # What one side leaves over is the other's.
    left = max(room // 2, room - len(after))
    right = max(room - room // 2, room - len(before))
    if len(before) > left:
        before = f"… {before[-left:].partition(' ')[2] if left else ''}"
    if len(after) > right:
        after = f"{after[:right].rpartition(' ')[0] if right else ''} …"
    return Excerpt(_spaces(before).lstrip(), _spaces(marked).strip(), _spaces(after).rstrip())


def way(trace: Trace) -> str:
    """The way that a question took, on one line."""
    parts = []
    for step in trace.steps:
        match step.stage:
            case "route":
                parts.append(f"route {'+'.join(step.choice)}")
            case "retrieve":
                parts.append(f"retrieve {step.note.partition(',')[0]} {len(step.choice)}")
            case "select":
                parts.append(f"select {len(step.choice)}")
            case "defer":
                parts.append(step.choice[0] if step.choice else "abstain")
    gflops = f"{trace.cost.gflops:.1f} GFLOPs"
    return f"{' → '.join(parts)} · {duration(trace.seconds)} · {gflops}"


def answer_lines(answer: Answer, *, marks: bool, sign: str = "", style: str = "") -> Iterator[Text]:
    """An answer in four lines or so; `sign` stands before it."""
    confidence = f"{answer.confidence:.0%}"
    if answer.text and answer.passage is not None:
        shown = " ".join(answer.text.split())
        yield Text.assemble((sign, style), (shown, "bold"), (f"  {confidence}", "cyan"))
        if answer.start is not None and answer.end is not None:
            yield excerpt(answer.passage.text, answer.start, answer.end).text(marks)
        source = " · ".join(part for part in (answer.passage.title, answer.passage.id) if part)
        yield Text(source, "italic")
    elif answer.text:
        yield Text.assemble((sign, style), (answer.text, "bold"), (f"  {confidence}", "cyan"))
    else:
        yield Text.assemble((sign, style), ("no answer", "bold"), f"  ({_why(answer, confidence)})")
    if answer.trace.steps:
        yield Text(way(answer.trace), "dim")


def _why(answer: Answer, confidence: str) -> str:
    if answer.failure:
        return answer.failure
    if not answer.alternatives:
        return "nothing was found that could hold one"
    return f"{confidence} for “{shorten(answer.alternatives[0][0].text, 40)}”"


def _spaces(text: str) -> str:
    """Runs of white space as one space, those at the ends too."""
    return re.sub(r"\s+", " ", text)
