from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InputError
from pointsman.evaluate.classification import confusion, macro_f1
from pointsman.grade.decision import Decision


def f1(labels: np.ndarray, named: np.ndarray) -> float:
    return float(macro_f1(confusion(labels, named, 2)))


def test_a_rare_grade_is_named_before_it_is_the_likeliest() -> None:
    """Ten pairs, two of the rare grade, which has 0.4 where it is true and 0.2 elsewhere.

    The likeliest grade is always the common one: F1 8/9 and 0, macro 4/9. Any threshold between 0.2
    and 0.4 names all rightly.
    """
    labels = np.array([1, 1] + [0] * 8)
    p = np.array([[0.6, 0.4]] * 2 + [[0.8, 0.2]] * 8)
    assert f1(labels, p.argmax(axis=1)) == pytest.approx(4 / 9)
    decision = Decision.fit(p, labels)
    assert (decision.grades(p) == labels).all()
    assert decision.log_weights[1] > 0 > decision.log_weights[0]


def test_without_a_better_rule_the_likeliest_grade_is_named() -> None:
    labels = np.array([0, 1, 2])
    assert Decision.fit(np.eye(3), labels).log_weights == (0, 0, 0)


@given(st.integers(0, 2**32 - 1))
def test_on_dev_it_is_never_worse_than_the_likeliest_grade(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), size=40)
    labels = rng.integers(0, 3, 40)

    def score(named: np.ndarray) -> float:
        return float(macro_f1(confusion(labels, named, 3)))

    assert score(Decision.fit(p, labels).grades(p)) >= score(p.argmax(axis=1)) - 1e-12


def test_probabilities_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="instead of 1"):
        Decision.fit([[0.2, 0.2]], [0])
