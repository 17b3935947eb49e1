"""What a reader thinks of others' answers, against its own likelihood of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pointsman.read.joined import JoinedLikelihood
from pointsman.read.likelihood import SpanLikelihood
from pointsman.read.reader import SpanReader
from pointsman.read.verify import LEAST, judge, log_likelihoods
from pointsman.types import Passage

ONE = Passage(id="1", text="alpha is red, beta is Red.")
TWO = Passage(id="2", text="gamma is blue and red")
ASKED = ["what follows alpha?", "what is blue", "none"]
GIVEN = [[ONE, TWO], [TWO], []]
SAID = [["red", "Red", None, "blue"], ["gamma", "violet", "", "blue and red"], ["x", None, "", "y"]]


def test_every_answer_has_its_likelihood(reader: SpanReader) -> None:
    found = log_likelihoods(reader, ASKED, GIVEN, SAID)
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
    assert log_likelihoods(reader, [], [], []).shape == (0, 0)


def test_as_the_reader_reads(reader: SpanReader) -> None:
    np.testing.assert_array_equal(
        judge(reader, ASKED, GIVEN, SAID), log_likelihoods(reader, ASKED, GIVEN, SAID)
    )
    settings = replace(reader.settings, joined=True)
    together = SpanReader(reader.backbone, reader._head, reader._adapter, settings)
    found = judge(together, ASKED[:1], GIVEN[:1], [["red", "yes"]])
    likelihood = JoinedLikelihood(together)
    for j, text in enumerate(("red", "yes")):
        expected = max(likelihood.log_likelihood(ASKED[0], GIVEN[0], [text]), LEAST)
        assert found[0, j] == pytest.approx(expected, abs=1e-4)
