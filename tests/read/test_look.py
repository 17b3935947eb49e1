"""A first look says of each passage what reading it alone says."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.deadline import Deadline
from pointsman.errors import DeadlineError
from pointsman.read.likelihood import SpanLikelihood
from pointsman.read.look import look
from pointsman.read.reader import SpanReader
from pointsman.types import Passage

QUESTIONS = ["who designed the bridge", "what is brewed"]
PASSAGES = [
    [
        Passage("a", "The first iron bridge was designed by Thomas Pritchard. " * 3),
        Passage("b", "It crosses the river Severn."),
        Passage("c", "   "),
    ],
    [Passage("d", "Green tea is brewed at eighty degrees.")],
]


def test_a_look_is_what_reading_each_passage_alone_says(reader: SpanReader) -> None:
    looks = look(reader, QUESTIONS, PASSAGES)
    shares = SpanLikelihood(reader).shares(QUESTIONS, PASSAGES, [["x"], ["x"]])
    for question, given, seen, share in zip(QUESTIONS, PASSAGES, looks, shares, strict=True):
        assert len(seen.texts) == len(given)
        np.testing.assert_allclose(seen.all, share.all, rtol=1e-5)
        for i, passage in enumerate(given):
            (alone,) = reader.read([question], [[passage]], n_best=2)
            if not alone.spans:
                assert (seen.best[i], seen.second[i], seen.texts[i]) == (-np.inf, -np.inf, "")
                continue
            assert seen.texts[i] == alone.spans[0].text
            assert seen.best[i] == pytest.approx(alone.spans[0].score, abs=1e-4)
            assert seen.second[i] == pytest.approx(alone.spans[1].score, abs=1e-4)
    read = reader.read(QUESTIONS, PASSAGES)
    assert [each.gflops for each in looks] == pytest.approx([each.gflops for each in read])


def test_no_passages_and_no_time(reader: SpanReader) -> None:
    (nothing,) = look(reader, QUESTIONS[:1], [[]])
    assert (len(nothing.best), nothing.texts, nothing.gflops) == (0, (), 0.0)
    with pytest.raises(DeadlineError):
        look(reader, QUESTIONS, PASSAGES, Deadline(1e-9))
