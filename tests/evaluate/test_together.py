"""Many differences at once must be what each is alone."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.errors import InputError
from pointsman.evaluate.significance import macro_interval, macro_randomisation
from pointsman.evaluate.together import macro_intervals, macro_p_values


def differences(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shifts = np.array([0.0, 0.05, 0.1, 0.3])
    return [rng.normal(size=(n, 4)) * 0.5 + shifts for n in (40, 120, 75)]


def test_p_values_are_those_of_each_alone() -> None:
    sets = differences()
    for j, p in enumerate(macro_p_values(sets, seed=5)):
        zeros = [np.zeros(len(each)) for each in sets]
        alone = macro_randomisation([each[:, j] for each in sets], zeros, seed=5)
        assert p == pytest.approx(alone.p_value)


def test_few_queries_are_enumerated() -> None:
    # Three differences of one sign: of eight assignments two reach the sum seen.
    sets = [np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 2.0]])]
    assert macro_p_values(sets).tolist() == [0.25, 1.0]


def test_intervals_are_those_of_each_alone() -> None:
    sets = differences(1)
    for j, found in enumerate(macro_intervals(sets)):
        alone = macro_interval([each[:, j] for each in sets])
        assert found.mean == pytest.approx(alone.mean)
        # Other resamples, so the bounds agree as far as 10,000 of them tell.
        assert found.low == pytest.approx(alone.low, abs=0.006)
        assert found.high == pytest.approx(alone.high, abs=0.006)
        assert (found.n, found.clusters) == (alone.n, alone.clusters)


@pytest.mark.parametrize(
    "sets",
    [
        [],
        [np.zeros(3)],
        [np.zeros((0, 2))],
        [np.zeros((3, 2)), np.zeros((3, 1))],
        [np.array([[np.nan]])],
    ],
)
def test_what_cannot_be_tested_is_refused(sets: list[np.ndarray]) -> None:
    with pytest.raises(InputError):
        macro_p_values(sets)
    with pytest.raises(InputError):
        macro_intervals(sets)
