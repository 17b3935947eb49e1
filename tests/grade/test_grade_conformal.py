from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pointsman.errors import ConfigError, InputError
from pointsman.grade.conformal import SCORES, Conformal, lac, ordinal

Floats = npt.NDArray[np.float64]
each_score = pytest.mark.parametrize("score", sorted(SCORES))


def graded(n: int, seed: int, sure: float = 1.0) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Probabilities over four grades that are wrong by the power `sure`, and true grades."""
    generator = np.random.default_rng(seed)
    true = generator.dirichlet([0.6, 0.4, 0.5, 0.7], n)
    grades = (generator.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    said = (true + 1e-9) ** sure
    return said / said.sum(axis=1, keepdims=True), grades


def test_scores_by_hand() -> None:
    row = np.array([[0.1, 0.5, 0.15, 0.25]])
    assert lac(row)[0] == pytest.approx([0.9, 0.5, 0.85, 0.75])
    # From 1: its neighbours are 0 (0.1) and 2 (0.15), then 0 (0.1) and 3 (0.25).
    assert ordinal(row)[0] == pytest.approx([0.9, 0.0, 0.5, 0.65])
    # A tie of neighbours goes to the lower one, a tie of modes as well.
    assert ordinal(np.array([[0.25, 0.5, 0.25]]))[0] == pytest.approx([0.5, 0.0, 0.75])
    assert ordinal(np.array([[0.4, 0.2, 0.4]]))[0] == pytest.approx([0.0, 0.4, 0.6])


def test_the_threshold_by_hand() -> None:
    # Scores of the true grade 0.1, 0.2, … 0.9; ⌈10 · 0.7⌉ = 7, exactly.
    p = np.arange(9, 0, -1) / 10
    both = np.stack([p, 1 - p], axis=1)
    assert Conformal.fit(both, [0] * 9, alpha=0.3, score="lac").threshold == pytest.approx(0.7)
    assert Conformal.fit(both, [0] * 9, alpha=0.31, score="lac").threshold == pytest.approx(0.7)
    assert Conformal.fit(both, [0] * 9, alpha=0.29, score="lac").threshold == pytest.approx(0.8)
    held = Conformal("lac", 0.45).sets([[0.6, 0.4], [0.5, 0.5], [0.4, 0.6]])
    assert held.tolist() == [[True, False], [False, False], [False, True]]


@each_score
@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("sure", [1.0, 4.0])
def test_coverage_is_what_was_promised(score: str, alpha: float, sure: float) -> None:
    """Averaged over calibration sets, at least 1 - α, whether or not the model is overconfident."""
    covered, trials, n, m = 0, 150, 60, 40
    for seed in range(trials):
        probabilities, grades = graded(n + m, seed, sure)
        held = Conformal.fit(probabilities[:n], grades[:n], alpha, score).sets(probabilities[n:])
        covered += int(held[np.arange(m), grades[n:]].sum())
    total = trials * m
    # Draws of one trial share a threshold: its spread is that of a Beta(n + 1 - k, k) of mean α.
    shared = np.sqrt(alpha * (1 - alpha) / (n + 2) / trials)
    lowest = binom.ppf(1e-4, total, 1 - alpha) / total - 3 * shared
    assert covered / total >= lowest
    if score == "lac":  # scores without ties are not above it either
        highest = binom.ppf(1 - 1e-4, total, 1 - alpha + 1 / (n + 1)) / total + 3 * shared
        assert covered / total <= highest


def test_sets_are_wider_where_the_model_is_unsure() -> None:
    probabilities, grades = graded(500, seed=1)
    sure, unsure = [[0.97, 0.01, 0.01, 0.01]], [[0.3, 0.25, 0.25, 0.2]]
    fitted = Conformal.fit(probabilities, grades, alpha=0.1)
    assert fitted.sets(sure).sum() < fitted.sets(unsure).sum()


rows = st.lists(
    st.lists(st.floats(0, 1, width=16), min_size=5, max_size=5).filter(lambda row: sum(row) > 0.01),
    min_size=1,
    max_size=8,
)


@given(rows, st.floats(0, 1))
def test_ordinal_sets_are_contiguous_and_grow_from_the_likeliest(
    given: list[list[float]], threshold: float
) -> None:
    probabilities = np.array(given) / np.sum(given, axis=1, keepdims=True)
    sets = Conformal("ordinal", threshold).sets(probabilities)
    wider = Conformal("ordinal", min(1.0, threshold + 0.1)).sets(probabilities)
    assert sets[np.arange(len(sets)), probabilities.argmax(axis=1)].all()
    assert (wider | ~sets).all()
    for held in sets:
        places = np.flatnonzero(held)
        assert places.max() - places.min() + 1 == len(places)


@each_score
def test_too_few_examples_promise_nothing_but_everything(score: str) -> None:
    probabilities, grades = graded(9, seed=2)
    few = Conformal.fit(probabilities[:8], grades[:8], alpha=0.1, score=score)
    sets = few.sets([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.10001]])
    assert sets.all()
    assert Conformal.fit(probabilities, grades, alpha=0.1, score=score).threshold < 1


def test_it_is_kept_as_plain_values() -> None:
    probabilities, grades = graded(50, seed=3)
    fitted = Conformal.fit(probabilities, grades)
    assert Conformal(**json.loads(json.dumps(asdict(fitted)))) == fitted
    for damaged in ({"score": "aps"}, {"threshold": np.nan}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match="no conformal sets by score"):
            Conformal(**asdict(fitted) | damaged)


def test_no_passages_no_sets() -> None:
    assert Conformal("ordinal", 0.5).sets(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 5, np.nan])
def test_alpha_out_of_range(alpha: float) -> None:
    with pytest.raises(ConfigError, match=r"alpha must lie between 0 and 1, for example 0\.1"):
        Conformal.fit([[0.5, 0.5]], [0], alpha=alpha)


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="score must be one of lac, ordinal, not 'aps'"):
        Conformal.fit([[0.5, 0.5]], [0], score="aps")
    with pytest.raises(InputError, match="no example to fit to"):
        Conformal.fit(np.zeros((0, 2)), [])
    with pytest.raises(InputError, match="labels must be grades from 0 to 1"):
        Conformal.fit([[0.5, 0.5]], [2])
    with pytest.raises(InputError, match=r"sums to 1\.5"):
        Conformal("lac", 0.5).sets([[1.0, 0.5]])
