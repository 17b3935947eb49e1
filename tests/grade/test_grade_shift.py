from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.errors import ConfigError, InputError
from pointsman.grade.shift import estimate, reweighted

Floats = npt.NDArray[np.float64]

TRAINED = np.array([0.5, 0.3, 0.2])
CENTRES = np.array([-1.5, 0.0, 1.5])


def population(shares: Floats, n: int, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int64]]:
    """What a model that knows the grades' normal densities, trained at TRAINED, says of n examples."""
    generator = np.random.default_rng(seed)
    grades = generator.choice(3, size=n, p=shares)
    x = generator.normal(CENTRES[grades], 1)
    joint = TRAINED * np.exp(-((x[:, None] - CENTRES) ** 2) / 2)
    return joint / joint.sum(axis=1, keepdims=True), grades


@pytest.mark.parametrize("new", [[0.1, 0.2, 0.7], [0.8, 0.15, 0.05], [0.2, 0.6, 0.2]])
def test_a_known_shift_is_found_and_corrected(new: list[float]) -> None:
    shares = np.array(new)
    probabilities, grades = population(shares, 20_000)
    found = estimate(probabilities, TRAINED)
    assert found.converged
    assert found.prior == pytest.approx(shares, abs=0.02)
    # Where the model's mean is far off.
    assert np.abs(probabilities.mean(axis=0) - shares).max() > 0.04
    assert found.probabilities == pytest.approx(
        reweighted(probabilities, TRAINED, shares), abs=0.05
    )
    right = [(p.argmax(axis=1) == grades).mean() for p in (probabilities, found.probabilities)]
    assert right[1] > right[0]
    assert found.p_value < 1e-6


def test_the_prior_is_that_of_the_greatest_likelihood() -> None:
    probabilities, _ = population(np.array([0.2, 0.2, 0.6]), 300, seed=1)
    found = estimate(probabilities, TRAINED, tolerance=1e-10)
    grid = [(a, b, 1 - a - b) for a in np.arange(0, 1, 0.01) for b in np.arange(0, 1.001 - a, 0.01)]
    best = max(np.log(probabilities @ (np.maximum(each, 0) / TRAINED)).sum() for each in grid)
    assert found.log_likelihood[-1] >= best
    assert found.log_likelihood[-1] == pytest.approx(best, abs=0.05)


def test_reweighting_by_hand() -> None:
    # Odds 3 : 1 at equal shares; a second grade three times as frequent makes them even.
    assert reweighted([[0.75, 0.25]], [0.5, 0.5], [0.25, 0.75])[0] == pytest.approx([0.5, 0.5])
    both = reweighted([[0.6, 0.4], [0.1, 0.9]], [0.5, 0.5], [0.2, 0.8])
    assert reweighted(both, [0.2, 0.8], [0.5, 0.5]) == pytest.approx(
        np.array([[0.6, 0.4], [0.1, 0.9]])
    )


def test_no_shift_is_a_fixed_point() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    found = estimate(probabilities, probabilities.mean(axis=0))
    assert found.prior == pytest.approx(probabilities.mean(axis=0))
    assert found.probabilities == pytest.approx(probabilities)
    assert len(found.log_likelihood) == 2
    assert found.p_value == pytest.approx(1)


def test_the_test_of_no_shift_is_wrong_as_often_as_it_says() -> None:
    small = sum(
        estimate(population(TRAINED, 300, seed)[0], TRAINED).p_value < 0.1 for seed in range(200)
    )
    assert 0.05 <= small / 200 <= 0.16


rows = st.lists(
    st.lists(st.floats(0, 1, width=16), min_size=3, max_size=3).filter(lambda row: sum(row) > 0.01),
    min_size=1,
    max_size=12,
)
shares = st.lists(st.floats(0.05, 1), min_size=3, max_size=3)


@given(rows, shares)
@settings(deadline=None)
def test_a_step_never_makes_it_less_likely(given: list[list[float]], prior: list[float]) -> None:
    probabilities = np.array(given) / np.sum(given, axis=1, keepdims=True)
    found = estimate(probabilities, np.array(prior) / sum(prior), steps=200)
    assert (np.diff(found.log_likelihood) >= -1e-9).all()
    assert np.isfinite(found.probabilities).all()
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(len(given)))
    assert found.prior.sum() == pytest.approx(1)
    # A grade that was impossible stays so.
    assert (found.probabilities[probabilities == 0] == 0).all()


def test_steps_are_bounded() -> None:
    probabilities, _ = population(np.array([0.1, 0.2, 0.7]), 200)
    found = estimate(probabilities, TRAINED, tolerance=1e-12, steps=3)
    assert not found.converged
    assert len(found.log_likelihood) == 4


def test_a_row_of_what_cannot_be_becomes_the_new_prior() -> None:
    found = reweighted([[1.0, 0.0, 0.0]], TRAINED, [0.0, 0.4, 0.6])
    assert found.tolist() == [[0.0, 0.4, 0.6]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate([[0.5, 0.5]], [1.0, 0.0]), r"grade 1 was absent from training"),
        (lambda: reweighted([[0.5, 0.5]], [0, 1], [0.5, 0.5]), r"grade 0 was absent"),
        (lambda: estimate([[0.5, 0.5]], [0.2, 0.3, 0.5]), r"must hold 2 shares, one a grade"),
        (lambda: estimate([[0.5, 0.5]], [0.5, 0.6]), r"the training prior sums to 1.1"),
        (lambda: reweighted([[0.5, 0.5]], [0.5, 0.5], [-1, 2]), r"the new prior must be finite"),
        (lambda: estimate([[2.0, 0.5]], [0.5, 0.5]), r"sums to 2.5 instead of 1"),
        (lambda: estimate(np.zeros((0, 2)), [0.5, 0.5]), r"from no probabilities"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("setting", [{"tolerance": 0.0}, {"tolerance": np.nan}, {"steps": 0}])
def test_bad_settings(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="tolerance must be above 0 and steps at least 1"):
        estimate([[0.5, 0.5]], [0.5, 0.5], **setting)  # type: ignore[arg-type]
