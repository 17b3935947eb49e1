from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pointsman.errors import ConfigError, InputError
from pointsman.grade.mixture import explain

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRAINED = np.array([0.5, 0.3, 0.2])
CENTRES = np.array([-1.5, 0.0, 1.5])


def population(
    shares: Floats, n: int, seed: int, *, moved: float = 0.0, sure: float = 1.0
) -> tuple[Floats, Ints]:
    """What a model trained at TRAINED says of n examples; `moved`: all look better than in training;
    `sure`: 1 is calibrated, more is too sure.
    """
    generator = np.random.default_rng(seed)
    grades = generator.choice(3, size=n, p=shares)
    x = generator.normal(CENTRES[grades] + moved, 1)
    joint = (TRAINED * np.exp(-((x[:, None] - CENTRES) ** 2) / 2)) ** sure
    return joint / joint.sum(axis=1, keepdims=True), grades


@pytest.mark.parametrize("new", [[0.1, 0.2, 0.7], [0.75, 0.15, 0.1], [0.2, 0.6, 0.2]])
@pytest.mark.parametrize("sure", [1.0, 3.0])
def test_a_change_of_shares_is_found_even_by_a_model_that_is_too_sure(
    new: list[float], sure: float
) -> None:
    labelled, grades = population(TRAINED, 4_000, 0, sure=sure)
    said, _ = population(np.array(new), 4_000, 1, sure=sure)
    found = explain(labelled, grades, said)
    assert found.prior == pytest.approx(new, abs=0.06)
    assert found.prior.sum() == pytest.approx(1)
    assert found.freedom == 9 - 2
    assert found.p_value > 0.01


def test_by_hand() -> None:
    # Grade 1 always says 0.8, grade 0 says 0.8 in a quarter of its cases: with 40 of 100 above, the
    # shares solve q + (1 - q) / 4 = 0.4, so q = 0.2.
    low, high = [0.8, 0.2], [0.2, 0.8]
    labelled = [low] * 300 + [high] * 100 + [high] * 400
    labels = [0] * 400 + [1] * 400
    found = explain(labelled, labels, [low] * 6_000 + [high] * 4_000, bins=3, strength=0.01)
    assert found.prior == pytest.approx([0.8, 0.2], abs=1e-3)
    assert found.statistic == pytest.approx(0, abs=1e-3)


def test_another_look_of_the_grades_is_no_change_of_shares() -> None:
    labelled, grades = population(TRAINED, 4_000, 0)
    assert explain(labelled, grades, population(TRAINED, 4_000, 1, moved=3.0)[0]).p_value < 1e-6


def test_the_test_rejects_as_often_as_it_says() -> None:
    rejected = 0
    for seed in range(200):
        labelled, grades = population(TRAINED, 1_000, 2 * seed)
        said, _ = population(np.array([0.3, 0.3, 0.4]), 1_000, 2 * seed + 1)
        rejected += explain(labelled, grades, said).p_value < 0.05
    assert 1 <= rejected <= 22  # 10 are expected


def test_examples_of_a_query_count_as_one() -> None:
    # Each example five times over: without groups the test takes the copies for evidence.
    rejected = {"grouped": 0, "not": 0}
    for seed in range(60):
        labelled, grades = population(TRAINED, 300, 2 * seed)
        said, _ = population(TRAINED, 300, 2 * seed + 1)
        names = [i for i in range(300) for _ in range(5)]
        copied = [np.repeat(each, 5, axis=0) for each in (labelled, grades, said)]
        grouped = explain(*copied, labelled_groups=names, population_groups=names)
        rejected["grouped"] += grouped.p_value < 0.05
        rejected["not"] += explain(*copied).p_value < 0.05
    assert rejected["grouped"] <= 9
    assert rejected["not"] >= 30


def test_what_cannot_be_told_apart_stays_as_it_was() -> None:
    # All grades look alike: any shares explain the population.
    generator = np.random.default_rng(0)
    said = generator.dirichlet([1, 1, 1], size=2_000)
    grades = generator.choice(3, size=2_000, p=TRAINED)
    found = explain(said, grades, generator.dirichlet([1, 1, 1], size=2_000))
    assert found.prior == pytest.approx(TRAINED, abs=0.2)
    firmer = explain(said, grades, generator.dirichlet([1, 1, 1], size=2_000), strength=1_000)
    assert firmer.prior == pytest.approx(TRAINED, abs=0.03)


def test_one_answer_for_all_examples() -> None:
    found = explain([[0.5, 0.5]] * 10, [0, 1] * 5, [[0.5, 0.5]] * 4, bins=3)
    assert found.prior == pytest.approx([0.5, 0.5])
    assert found.p_value == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population": np.empty((0, 3))}, "the population must hold probabilities of 3 grades"),
        ({"population": np.full((4, 2), 0.5)}, r"of 3 grades, not \(4, 2\)"),
        ({"labels": [0, 0, 1, 1]}, "no labelled example has grade 2"),
        ({"labelled_groups": ["a"]}, "4 examples need as many groups, not 1"),
    ],
)
def test_input_that_cannot_be_used_is_refused(change: dict[str, object], message: str) -> None:
    given = {
        "labelled": np.eye(3)[[0, 1, 2, 2]],
        "labels": [0, 1, 2, 2],
        "population": np.eye(3),
    }
    with pytest.raises(InputError, match=message):
        explain(**(given | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"bins": 3}, "more bins than the 3 grades"), ({"strength": 0.0}, "strength must be above 0")],
)
def test_settings_that_cannot_be_used_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain(np.eye(3), [0, 1, 2], np.eye(3), **setting)  # type: ignore[arg-type]
