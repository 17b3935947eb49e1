"""What a reader thinks of others' answers, against its own likelihood of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pointsman.deadline import Deadline
from pointsman.errors import DeadlineError
from pointsman.read.joined import JoinedLikelihood
from pointsman.read.likelihood import SpanLikelihood
from pointsman.read.reader import ReaderSettings, SpanReader
from pointsman.read.verify import LEAST, judge, log_likelihoods
from pointsman.types import Passage

ONE = Passage(id="1", text="alpha is red, beta is Red.")
TWO = Passage(id="2", text="gamma is blue and red")
ASKED = ["what follows alpha?", "what is blue", "none"]
GIVEN = [[ONE, TWO], [TWO], []]
SAID = [["red", "Red", None, "blue"], ["gamma", "violet", "", "blue and red"], ["x", None, "", "y"]]


def test_every_answer_has_its_likelihood(reader: SpanReader) -> None:
    judged = log_likelihoods(reader, ASKED, GIVEN, SAID)
    found = judged.log_p
    # It took what reading the same passages for an answer takes.
    assert judged.gflops.tolist() == pytest.approx(
        [each.gflops for each in reader.read(ASKED, GIVEN)]
    )
    assert found.shape == (3, 4)
    one = SpanLikelihood(reader)
    for q, row in enumerate(SAID):
        for j, text in enumerate(row):
            if not text:
                assert found[q, j] == 0
                continue
            expected = max(one.log_likelihood(ASKED[q], GIVEN[q], [text]), LEAST)
            assert found[q, j] == pytest.approx(expected, abs=1e-4), text
    assert found[1, 1] == LEAST  # it stands nowhere
    assert found[0, 0] == found[0, 1]  # case does not matter
    assert log_likelihoods(reader, [], [], []).log_p.shape == (0, 0)


def test_a_look_ends_at_its_deadline(reader: SpanReader) -> None:
    gone = Deadline()
    gone.cancel()
    for joined in (False, True):
        settings = replace(reader.settings, joined=joined)
        with pytest.raises(DeadlineError):
            judge(replaced(reader, settings), ASKED, GIVEN, SAID, gone)


def replaced(reader: SpanReader, settings: ReaderSettings) -> SpanReader:
    return SpanReader(reader.backbone, reader._head, reader._adapter, settings)


def test_as_the_reader_reads(reader: SpanReader) -> None:
    np.testing.assert_array_equal(
        judge(reader, ASKED, GIVEN, SAID).log_p, log_likelihoods(reader, ASKED, GIVEN, SAID).log_p
    )
    settings = replace(reader.settings, joined=True)
    together = replaced(reader, settings)
    found = judge(together, ASKED[:1], GIVEN[:1], [["red", "yes"]]).log_p
    likelihood = JoinedLikelihood(together)
    for j, text in enumerate(("red", "yes")):
        expected = max(likelihood.log_likelihood(ASKED[0], GIVEN[0], [text]), LEAST)
        assert found[0, j] == pytest.approx(expected, abs=1e-4)
