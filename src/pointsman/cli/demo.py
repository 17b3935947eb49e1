"""`pointsman demo`: the sample collection, a dozen questions, and what comes of them."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pointsman.cli.answers import answer_lines
from pointsman.cli.options import Json
from pointsman.cli.output import Output, duration

if TYPE_CHECKING:
    from pointsman.sample import SampleQuestion
    from pointsman.types import Answer

EXAMPLES = """
Examples:
  pointsman demo
  pointsman demo --keep demo-space
"""

_NEXT = """\
Next, with documents of your own:
  pointsman index my-space path/to/documents
  pointsman ask my-space "your question"
  pointsman info my-space
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the sample, its answer, and whether that is one of the expected ones."""

    question: SampleQuestion
    answer: Answer
    right: bool


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the workspace there.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Ask a sample collection a dozen questions.

    Every answer is shown in its source, with the way it took. One of the questions has no answer there: saying so is right.
    """
    output = Output(json)
    started = time.perf_counter()
    with _place(keep) as place:
        asked, passages = _ask(place, output)
    seconds = time.perf_counter() - started
    right = sum(each.right for each in asked)
    output.show(Text(f"{passages} passages, {len(asked)} questions", "bold"), "")
    for number, each in enumerate(asked, start=1):
        output.item(Text(each.question.question), f"{number:>2}  ")
        for line in _lines(each, output.marks):
            output.item(line, "    ")
        output.show("")
    output.show(
        Text("The whole way of the first question", "bold"),
        str(asked[0].answer.trace),
        "",
        Text(f"{right} of {len(asked)} right, in {duration(seconds)} with loading.", "bold"),
        *([f"The workspace is kept: pointsman ask {keep}"] if keep is not None else []),
        "",
        _NEXT.rstrip(),
    )
    output.document(
        {
            "questions": [
                {
                    "expected": list(each.question.answers),
                    "right": each.right,
                    "answer": each.answer.as_dict(),
                }
                for each in asked
            ],
            "right": right,
            "asked": len(asked),
            "passages": passages,
            "seconds": round(seconds, 3),
            "workspace": None if keep is None else str(keep),
        }
    )


@contextlib.contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    # Windows does not delete files that are still mapped; the system cleans up after us there.
    with tempfile.TemporaryDirectory(prefix="pointsman-", ignore_cleanup_errors=True) as directory:
        yield Path(directory) / "demo"


def _ask(place: Path, output: Output) -> tuple[list[Asked], int]:
    from pointsman.evaluate.reading import exact_match
    from pointsman.sample import sample_directory, sample_questions
    from pointsman.workspace import Workspace

    questions = [question for question in sample_questions() if question.demo]
    with output.working("loading") as working, Workspace.create(place) as space:
        _ = space.reader  # Without one there is no need to index anything.
        working.say("indexing the sample collection")
        space.index([sample_directory()])
        working.say(f"asking {len(questions)} questions")
        answers = space.ask_many([question.question for question in questions])
        asked = [
            # An abstention is an empty text, which is exactly right where there is no answer.
            Asked(question, answer, exact_match(answer.text, question.answers) == 1.0)
            for question, answer in zip(questions, answers, strict=True)
        ]
        return asked, len(space.store)


def _lines(each: Asked, marks: bool) -> list[Text]:
    sign, style = ("✓ ", "bold green") if each.right else ("✗ ", "bold red")
    lines = [*answer_lines(each.answer, marks=marks, sign=sign, style=style)]
    if not each.right:
        lines.insert(1, Text(f"expected: {_expected(each.question.answers)}", "red"))
    return lines


def _expected(answers: Sequence[str]) -> str:
    return " or ".join(answers) or "no answer; the collection has none"
