"""Retrieval alone and graded, on the sample collection and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pointsman.backbone.encoder import Backbone
from pointsman.errors import InputError
from pointsman.experiments import reranking
from pointsman.experiments.reranking import Graded
from pointsman.experiments.retrieval import Rankings
from pointsman.grade.grader import PairGrader
from pointsman.sample import sample_directory
from pointsman.types import Query
from spaces import write_grader


def test_the_order_by_hand() -> None:
    # Retrieval has the relevant document second, the grader is sure of it.
    ranked = Rankings("hand", 3, (Query("q", "?"),), {"q": {"b": 1}}, (), ())
    said = np.array([[0.9, 0.1], [0.0, 1.0], [0.5, 0.5]])
    found = Graded(ranked, [[("a", 3.0), ("b", 2.0), ("c", 1.0)]], [said], 0.0)
    assert found.scores(0.0).tolist() == [pytest.approx(1 / np.log2(3))]
    assert found.scores(1.0).tolist() == [1.0]
    # a: 0.3 · 0.1 + 0.7 · 1, b: 0.3 · 1 + 0.7 · 0.5.
    assert found.scores(0.3).tolist() == [pytest.approx(1 / np.log2(3))]
    probability, relevant = found.relevant()
    assert probability.tolist() == [0.1, 1.0, 0.5]
    assert relevant.tolist() == [0, 1, 0]


def test_the_sample_collection(tmp_path: Path) -> None:
    backbone = Backbone.load()
    grader = PairGrader.load(backbone, write_grader(tmp_path / "random", backbone))
    report = reranking.run(sample_directory(), backbone, grader, limit=5, weight=0.0)
    (row,) = report.tables[0].rows
    # Without a say the grader changes nothing, but takes its time.
    assert row[2] == row[3]
    assert isinstance(row[-1], float)
    assert row[-1] > 0
    changed = (
        reranking.run(sample_directory(), backbone, grader, limit=5, weight=1.0).tables[0].rows[0]
    )
    assert changed[2] == row[2] != changed[3]
    with pytest.raises(InputError, match="no judgements for 'dev'"):
        reranking.run(sample_directory(), backbone, grader, split="dev")
