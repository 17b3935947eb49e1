"""Choosing by what a reader saw: the features by hand, the fit, and that the reader then answers so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.errors import InputError
from pointsman.select.looked import FEATURES, OWN, Choice, features, selection
from pointsman.types import Look, Passage
from pointsman.wording import wording

QUESTION = "what is red"
TEXTS = ["the apple is red", "a pear", "apples"]


def column(of: np.ndarray, name: str) -> list[float]:
    return np.round(of[:, FEATURES.index(name)], 6).tolist()


def test_features_by_hand() -> None:
    look = Look(
        np.array([2.0, 5.0, -np.inf]),
        np.array([1.0, -np.inf, -np.inf]),
        np.array([np.log(np.exp(2.0) + np.exp(1.0)), 5.0, -np.inf]),
        ("The apple", "apple", ""),
    )
    found = features(look, QUESTION, TEXTS, [0.9, 0.3, 0.3])
    assert found.shape == (3, len(FEATURES))
    assert column(found, "rank") == pytest.approx([0, 0.693147, 1.098612])
    assert column(found, "relevance") == pytest.approx([0.4, -0.2, -0.2])
    assert column(found, "best span") == [2, 5, -30]
    # Where there is no second span the best one stands alone, and a passage without any says nothing.
    assert column(found, "best above second") == [1, 20, 0]
    inside = 2 - np.log(np.exp(2.0) + np.exp(1.0))
    assert column(found, "best among its passage's") == pytest.approx([inside, 0, 0], abs=1e-6)
    assert column(found, "best against the best of all") == [-3, 0, -20]
    share = np.exp(look.all[0]) / (np.exp(look.all[0]) + np.exp(5.0))
    assert column(found, "passage's share of all spans") == pytest.approx(
        [np.log(share), np.log(1 - share), -20], abs=1e-6
    )
    assert column(found, "holds the best of all") == [0, 1, 0]
    # An article and a capital make no other answer; an empty one is no answer.
    assert column(found, "others that say the same") == pytest.approx([0.693147, 0.693147, 0])
    np.testing.assert_allclose(found[:, len(OWN) :], wording([(QUESTION, text) for text in TEXTS]))


def test_a_question_without_candidates() -> None:
    nothing = Look(np.zeros(0), np.zeros(0), np.zeros(0), ())
    of = features(nothing, QUESTION, [], [])
    assert of.shape == (0, len(FEATURES))
    chosen = selection(Choice(np.ones(len(FEATURES))).scores(of), nothing.best, 5)
    assert chosen.order.tolist() == []
    assert chosen.of([]) == []


def planted(questions: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The candidate that has most of two features together is right; each alone misleads."""
    rng = np.random.default_rng(seed)
    of, worths = [], []
    for _ in range(questions):
        x = np.zeros((6, len(FEATURES)))
        x[:, 0], x[:, 2] = rng.normal(size=6), 5 * rng.normal(size=6)
        of.append(x)
        worths.append((np.arange(6) == np.argmax(2 * x[:, 0] - x[:, 2] / 5)).astype(np.float64))
    return of, worths


def test_a_choice_learns_what_answers() -> None:
    choice = Choice.fit(*planted(200, seed=0), penalty=1e-3)
    of, worths = planted(200, seed=1)
    right = [w[choice.scores(x).argmax()] for x, w in zip(of, worths, strict=True)]
    assert np.mean(right) > 0.95
    # Ten times the unit changes nothing: the fit standardises, and its weights are of what was given.
    scaled, told = planted(200, seed=0)
    for x in scaled:
        x[:, 2] *= 10
    other = Choice.fit(scaled, told, penalty=1e-3)
    np.testing.assert_allclose(other.weights[2] * 10, choice.weights[2], rtol=1e-3)
    # What is the same of all candidates, or never there, gets no weight.
    assert (choice.weights[[1, 3, 4]] == 0).all()


def test_the_fit_climbs_the_marginal_likelihood() -> None:
    """Of two candidates that differ in one number: the maximum of log(σ(w) r_1 + σ(-w) r_2 + …) by a grid."""
    x = np.zeros((2, len(FEATURES)))
    x[0, 0] = 2.0
    # Questions on which the first is right three times in four.
    worths = [np.array([1.0, 0.0])] * 3 + [np.array([0.0, 1.0])]
    choice = Choice.fit([x] * 4, worths, penalty=0.0)
    grid = np.linspace(-3, 3, 6001)
    p = 1 / (1 + np.exp(-2 * grid))
    loss = 3 * np.log(p + 0.02) + np.log(1 - p + 0.02)
    assert choice.weights[0] == pytest.approx(grid[loss.argmax()], abs=2e-3)


def test_bad_input() -> None:
    x = np.zeros((2, len(FEATURES)))
    with pytest.raises(InputError, match="no candidate of any question holds an answer"):
        Choice.fit([x], [np.zeros(2)])
    with pytest.raises(InputError, match="between 0 and 1"):
        Choice.fit([x], [np.array([0.5, np.nan])])
    with pytest.raises(InputError, match=f"weighs {len(FEATURES)} features, not \\[3\\]"):
        Choice(np.zeros(3))


odds = st.floats(-25, 25, width=32)


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(arrays(float, n, elements=odds), arrays(float, n, elements=odds))
    ),
    st.integers(1, 6),
)
def test_the_reader_answers_from_the_first(both: tuple[np.ndarray, np.ndarray], most: int) -> None:
    scores, best = both
    chosen = selection(scores, best, most)
    assert len(chosen.order) == min(most, len(scores))
    assert chosen.chances is not None
    assert chosen.chances.sum() == pytest.approx(1, abs=1e-5)
    passages = chosen.of([Passage(str(i), "x") for i in range(len(scores))])
    moved = best[chosen.order] + [passage.belief for passage in passages]
    # The first is not silenced by what is said of the others, and wins but for rounding.
    assert passages[0].belief == 0
    assert moved[0] >= moved.max() - 1e-4
