"""The plain choice of a grader: certain of the only grade there is."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.grade.plain import Ungraded
from pointsman.protocols import Grader
from pointsman.types import Passage


@pytest.mark.parametrize("n", [0, 1, 4])
def test_probability_one_of_the_only_grade(n: int) -> None:
    grader: Grader = Ungraded()
    passages = [Passage(str(i), "text") for i in range(n)]
    probabilities = grader.grade(["question"], [passages])[0].probabilities
    assert grader.grades == ("ungraded",)
    assert probabilities.shape == (n, len(grader.grades))
    assert probabilities.dtype == np.float32
    assert np.all(probabilities == 1)
