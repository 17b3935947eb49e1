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
_NEAREST = 3


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
            case "grade" if step.scores:
                parts.append(f"grade {len(step.choice)}")
            case "select":
                parts.append(f"select {len(step.choice)}")
            case "defer":
                parts.append(", ".join(step.choice) or "abstain")
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
        relevance = _relevance(answer.trace).get(answer.passage.id)
        shown = "" if relevance is None else f"relevance {relevance:.2f}"
        source = (answer.passage.title, answer.passage.id, shown)
        yield Text(" · ".join(filter(None, source)), "italic")
    elif answer.text:
        yield Text.assemble((sign, style), (answer.text, "bold"), (f"  {confidence}", "cyan"))
    else:
        yield Text.assemble((sign, style), ("no answer", "bold"), f"  ({_why(answer, confidence)})")
        if _nothing_relevant(answer.trace):
            nearest = list(_relevance(answer.trace).items())[:_NEAREST]
            listed = ", ".join(f"{id} ({relevance:.2f})" for id, relevance in nearest)
            yield Text(f"nearest, but not relevant enough: {listed}")
    if answer.trace.steps:
        yield Text(way(answer.trace), "dim")


def _why(answer: Answer, confidence: str) -> str:
    if answer.failure:
        return answer.failure
    if _nothing_relevant(answer.trace):
        from pointsman.pipeline import NOTHING_RELEVANT

        return NOTHING_RELEVANT
    if not answer.alternatives:
        return "nothing was found that could hold one"
    return f"{confidence} for “{shorten(answer.alternatives[0][0].text, 40)}”"


def _relevance(trace: Trace) -> dict[str, float]:
    """The relevance of each candidate by its id, in their order; none where nothing was graded."""
    grades = (step for step in trace.steps if step.stage == "grade" and step.scores)
    return {
        id: score for step in grades for id, score in zip(step.options, step.scores, strict=True)
    }


def _nothing_relevant(trace: Trace) -> bool:
    """Whether passages were found, and none of them was relevant enough."""
    return any(step.stage == "grade" and step.options and not step.choice for step in trace.steps)


def _spaces(text: str) -> str:
    """Runs of white space as one space, those at the ends too."""
    return re.sub(r"\s+", " ", text)
