from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from pointsman.backbone.encoder import Backbone
from pointsman.backbone.lora import new_adapter
from pointsman.protocols import Likelihood, Reader
from pointsman.read.head import SpanHead
from pointsman.read.joined import Joined, JoinedLikelihood, JoinedReader, find
from pointsman.read.marginal import MarginalTask, Shown, reader_of
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.task import Part
from pointsman.training.loop import Plan, train
from pointsman.types import Passage, Span
from tiny import WIDTH

ONE = Passage("1", "alpha is red", title="beta")
TWO = Passage("2", "no, gamma is blue")


def span(text: str, joined: Joined) -> Span:
    start = joined.text.index(text)
    return Span(text, 0, start, start + len(text), 1.0, 0.1)


def test_spans_find_their_passage() -> None:
    joined = Joined.of([ONE, TWO])
    assert joined.text == "yes no\nbeta alpha is red\nno, gamma is blue"
    for text, passage, expected in (("alpha is", 0, "alpha is"), ("gamma", 1, "gamma")):
        found = joined.located(span(text, joined))
        assert found is not None
        assert found.passage == passage
        given = (ONE, TWO)[passage].text
        assert given[found.start : found.end] == expected
    title = joined.located(span("beta", joined))
    assert title is not None
    assert (title.passage, title.start, title.end, title.text) == (0, 0, 0, "beta")
    word = joined.located(span("no", joined))
    assert word is not None
    assert (word.text, word.passage, word.start, word.end) == ("no", 0, 0, 0)
    for over in ("red\nno", "no\nbeta", "yes no", "beta alpha", "es"):
        assert joined.located(span(over, joined)) is None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["no"], ["no"]),
        (["Yes"], ["yes"]),
        (["blue", "red"], ["blue", "red"]),
        (["no", "blue"], ["no", "blue"]),
        (["green"], []),
    ],
)
def test_answers_in_joined_passages(answers: list[str], expected: list[str]) -> None:
    text = Joined.of([ONE, TWO]).text
    spans = find(text, answers)
    assert sorted(text[start:end] for start, end in spans) == sorted(expected)
    assert all(end <= 6 or start >= 7 for start, end in spans)


def test_the_order_of_passages_matters(reader: SpanReader) -> None:
    likelihood: Likelihood = JoinedLikelihood(reader)
    one = likelihood.log_likelihood("what is gamma?", [ONE, TWO], ["blue"])
    other = likelihood.log_likelihood("what is gamma?", [TWO, ONE], ["blue"])
    assert math.isfinite(one)
    assert abs(one - other) > 1e-4
    assert likelihood.log_likelihood("what is gamma?", [TWO], ["green"]) == -math.inf
    assert math.isfinite(likelihood.log_likelihood("is gamma blue?", [TWO], ["yes"]))


def test_reading_joined_passages(reader: SpanReader) -> None:
    joined: Reader = JoinedReader(reader)
    found, nothing = joined.read(["what is gamma?", "who?"], [[ONE, TWO], []], n_best=5)
    assert (nothing.spans, nothing.no_answer) == ((), 1.0)
    assert 1 <= len(found.spans) <= 5
    assert found.gflops > 0
    for each in found.spans:
        if each.end:
            assert (ONE, TWO)[each.passage].text[each.start : each.end] == each.text
    likeliest = max(each.probability for each in found.spans)
    assert found.spans[0].probability == likeliest


def test_a_reader_learns_to_say_yes_and_no(tiny: Backbone, tmp_path: Path) -> None:
    """What no passage holds as a span, and what follows from both of them: are the two colours one?"""
    settings = ReaderSettings(max_length=48, overlap=8, answer_width=3)
    generator = torch.Generator().manual_seed(0)
    colours = ["red", "blue"]
    shown = []
    for _ in range(160):
        one, other = torch.randint(2, (2,), generator=generator).tolist()
        texts = Joined.of([Passage("a", colours[one]), Passage("b", colours[other])]).text
        shown.append(Shown.all_of("what is the colour", [texts], ["yes" if one == other else "no"]))
    start = Part(new_adapter(tiny.model, 8, 16.0, generator), SpanHead.fresh(WIDTH, generator))
    task = MarginalTask(
        tiny, start, shown, lambda _: {}, settings=settings, find=find, batch_size=16
    )
    assert task.left_out == 0
    train(task, Plan(measure=None, epochs=25, learning_rate=1e-2, evaluations=1), tmp_path)
    joined = JoinedReader(reader_of(tiny, task.part(), settings))
    pairs = [(a, b) for a in colours for b in colours]
    asked = [[Passage("a", a), Passage("b", b)] for a, b in pairs]
    said = [r.spans[0].text for r in joined.read(["what is the colour"] * 4, asked)]
    assert said == ["yes" if a == b else "no" for a, b in pairs]
