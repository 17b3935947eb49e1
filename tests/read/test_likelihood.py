"""The likelihood of a known answer is the sum of its spans' probabilities, whoever adds them up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pointsman.protocols import Likelihood
from pointsman.read.likelihood import SpanLikelihood, mentions
from pointsman.read.reader import SpanReader
from pointsman.types import Passage

QUESTION = "what follows alpha?"
ONE = Passage(id="1", text="alpha is red, beta is Red.")
TWO = Passage(id="2", text="gamma is blue and red")
NONE = Passage(id="3", text="delta is green")
BLANK = Passage(id="4", text=" ")


@pytest.mark.parametrize(
    ("text", "answers", "found"),
    [
        ("Red, red and reddish RED.", ["red"], ["Red", "red", "RED"]),
        ("in New\n York, New York", ["new york", "York"], ["New\n York", "New York", "York"]),
        ("it cost $30.", ["$30", "30"], ["$30", "30"]),
        ("nothing", ["", " "], []),
        ("naïve Straße", ["NAÏVE"], ["naïve"]),
    ],
)
def test_mentions(text: str, answers: list[str], found: list[str]) -> None:
    spans = mentions(text, answers)
    assert sorted({text[start:end] for start, end in spans}) == sorted(set(found))
    assert len(set(spans)) == len(spans)


def test_the_sum_of_the_answers_spans(reader: SpanReader) -> None:
    likelihood = SpanLikelihood(reader)
    assert isinstance(likelihood, Likelihood)
    passages = [ONE, TWO, NONE]
    (reading,) = reader.read([QUESTION], [passages], n_best=100)
    red = [span for span in reading.spans if span.text.lower() == "red"]
    assert len(red) == 3
    expected = sum(span.probability for span in red)
    found = likelihood.log_likelihood(QUESTION, passages, ["red"])
    assert math.exp(found) == pytest.approx(expected, rel=1e-4)
    both = likelihood.log_likelihood(QUESTION, passages, ["red", "blue"])
    blue = sum(span.probability for span in reading.spans if span.text == "blue")
    assert math.exp(both) == pytest.approx(expected + blue, rel=1e-4)


def test_shares_of_each_passage_and_of_each_question(reader: SpanReader) -> None:
    likelihood = SpanLikelihood(reader)
    asked, rows = [QUESTION, "what is blue", "none"], [[ONE, NONE], [TWO, BLANK], []]
    first, second, nothing = likelihood.shares(asked, rows, [["red"], ["blue"], ["x"]])
    assert np.isneginf(first.answer).tolist() == [False, True]
    assert np.isfinite(first.all).all()
    assert (second.answer[1], second.all[1]) == (-np.inf, -np.inf)  # nothing to read
    assert (first.answer <= first.all).all()
    assert first.log_likelihood() == pytest.approx(
        likelihood.log_likelihood(QUESTION, [ONE, NONE], ["red"]), abs=1e-5
    )
    assert (len(nothing.all), nothing.log_likelihood()) == (0, -math.inf)


def test_an_answer_that_stands_nowhere(reader: SpanReader) -> None:
    assert SpanLikelihood(reader).log_likelihood(QUESTION, [ONE], ["violet"]) == -math.inf
