from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import softmax

from pointsman.errors import ConfigError, InputError, SpecialistError
from pointsman.evaluate.calibration import brier, ece, nll, top_label
from pointsman.grade.scaling import Identity, Isotonic, Scaling, Temperature, Vector, choose, of

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

KINDS: list[type[Scaling]] = [Identity, Temperature, Vector, Isotonic]


def drawn(probabilities: Floats, generator: np.random.Generator) -> Labels:
    """Grades [n] that happen as often as `probabilities` [n, G] say."""
    above = generator.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)
    return above.sum(axis=1).clip(0, probabilities.shape[1] - 1)


def said(
    n: int, temperature: float = 1.0, bias: tuple[float, ...] = (0, 0, 0, 0), seed: int = 0
) -> tuple[Floats, Labels]:
    """Probabilities that are right once softmax(log p / temperature + bias) is taken, and grades."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, size=(n, len(bias)))
    truth = softmax(logits, axis=1)
    return softmax((logits - np.array(bias)) * temperature, axis=1), drawn(truth, generator)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_comes_out(temperature: float) -> None:
    probabilities, labels = said(20_000, temperature)
    fitted = Temperature.fit(probabilities, labels)
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)
    calibrated = fitted.apply(probabilities)
    assert ece(*top_label(calibrated, labels)) < 0.015
    # More certainty or less, the best grade is the same.
    assert (calibrated.argmax(axis=1) == probabilities.argmax(axis=1)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_of_a_grid(seed: int) -> None:
    probabilities, labels = said(60, 2.0, seed=seed)
    grid = np.geomspace(0.1, 10, 2001)
    best = min(grid, key=lambda t: nll(Temperature(t).apply(probabilities), labels))
    assert Temperature.fit(probabilities, labels).temperature == pytest.approx(best, rel=0.005)


def test_temperature_by_hand() -> None:
    # Square roots of 0.64 and 0.36 are 0.8 and 0.6.
    halved = Temperature(2.0).apply([[0.64, 0.36]])
    assert halved[0] == pytest.approx([0.8 / 1.4, 0.6 / 1.4])


def test_a_small_sample_without_mistakes_does_not_ask_for_certainty() -> None:
    fitted = Temperature.fit([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    assert fitted.temperature == pytest.approx(0.1, rel=1e-3)
    wrong = Temperature.fit([[0.9, 0.1], [0.2, 0.8]], [1, 0])
    assert wrong.temperature == pytest.approx(10, rel=1e-3)


def test_vector_scaling_finds_what_was_put_in() -> None:
    bias = (0.8, -0.4, 0.0, -0.4)
    probabilities, labels = said(20_000, 2.0, bias)
    fitted = Vector.fit(probabilities, labels)
    assert fitted.weights == pytest.approx((0.5,) * 4, abs=0.04)
    # A constant in all biases changes nothing.
    assert np.array(fitted.biases) - np.mean(fitted.biases) == pytest.approx(
        np.array(bias) - np.mean(bias), abs=0.1
    )
    # At the optimum each grade is as frequent as it is said to be, but for the penalty.
    happened = np.bincount(labels) / len(labels)
    assert fitted.apply(probabilities).mean(axis=0) == pytest.approx(happened, abs=1e-3)


@pytest.mark.parametrize("penalty", [0.1, 5.0])
def test_vector_scaling_is_at_its_minimum(penalty: float) -> None:
    probabilities, labels = said(80, 2.0, (0.5, 0.0, -0.5), seed=3)

    def loss(x: Floats) -> float:
        mapped = softmax(np.log(probabilities) * x[:3] + x[3:], axis=1)
        distance = np.sum((x[:3] - 1) ** 2) + np.sum(x[3:] ** 2)
        return float(-np.log(mapped[np.arange(80), labels]).sum() + penalty / 2 * distance)

    options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-9, "fatol": 1e-10}
    rival = minimize(loss, np.ones(6), method="Nelder-Mead", options=options)
    fitted = Vector.fit(probabilities, labels, penalty=penalty)
    ours = np.array(fitted.weights + fitted.biases)
    assert loss(ours) <= rival.fun + 1e-6
    assert ours == pytest.approx(rival.x, abs=1e-3)


def moved(fitted: Vector) -> float:
    weights, biases = np.array(fitted.weights), np.array(fitted.biases)
    return float(max(np.abs(weights - 1).max(), np.abs(biases).max()))


def test_a_handful_of_examples_moves_vector_scaling_little() -> None:
    probabilities, labels = said(4, 1.0, seed=4)
    freely, held = (Vector.fit(probabilities, labels, penalty=p) for p in (1e-3, 10.0))
    assert moved(held) < 0.5 < moved(freely)


@pytest.mark.parametrize("seed", range(3))
def test_isotonic_curves_are_scikit_learns(seed: int) -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    probabilities, labels = said(200, 2.0, seed=seed)
    # Hundredths: equal values must share a place.
    probabilities = np.random.default_rng(seed).multinomial(100, probabilities) / 100
    new, _ = said(100, 3.0, seed=10 + seed)
    theirs = np.stack(
        [
            isotonic.IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            .fit(probabilities[:, grade], labels == grade)
            .predict(new[:, grade])
            for grade in range(4)
        ],
        axis=1,
    )
    assert (theirs.sum(axis=1) > 0).all()
    ours = Isotonic.fit(probabilities, labels).apply(new)
    assert ours == pytest.approx(theirs / theirs.sum(axis=1, keepdims=True), abs=1e-6)


def test_isotonic_by_hand() -> None:
    # Grade 1 happened at 0.2 and 0.6, not at 0.1, 0.4 or 0.8: the last four pool to 1/2 each two.
    p = np.array([0.1, 0.2, 0.4, 0.6, 0.8])
    fitted = Isotonic.fit(np.stack([1 - p, p], axis=1), [0, 1, 0, 1, 0])
    assert fitted.curves[1] == ((0.1, 0.0), (0.2, 0.5), (0.8, 0.5))
    # Between 0.1 and 0.2 on a line; the other grade's curve is 1/2 up to 0.8, then up to 1.
    assert fitted.apply([[0.85, 0.15]])[0] == pytest.approx([0.75, 0.25])


def test_a_row_that_every_curve_denies_stays() -> None:
    never = ((0.0, 0.0), (1.0, 0.0))
    assert Isotonic((never, never)).apply([[0.3, 0.7]]).tolist() == [[0.3, 0.7]]


def test_calibrated_probabilities_are_left_alone() -> None:
    probabilities, labels = said(20_000)
    for kind in KINDS:
        change = np.abs(kind.fit(probabilities, labels).apply(probabilities) - probabilities)
        assert change.mean() < 0.015, kind
    found = choose(probabilities, labels)
    assert max(found.nll.values()) - min(found.nll.values()) < 1e-3


@pytest.mark.parametrize(
    ("temperature", "bias", "kind"),
    [
        (1.0, (0, 0, 0, 0), "none"),
        (3.0, (0, 0, 0, 0), "temperature"),
        (2.0, (1.0, -1.0, 0.5, -0.5), "vector"),
    ],
)
def test_the_choice_is_the_simplest_that_fits(
    temperature: float, bias: tuple[float, ...], kind: str
) -> None:
    probabilities, labels = said(400, temperature, bias, seed=1)
    found = choose(probabilities, labels)
    assert found.scaling.kind == kind
    assert found.nll[kind] == min(found.nll.values())
    assert found.nll["none"] == pytest.approx(nll(probabilities, labels))
    assert found == choose(probabilities, labels)
    new, grades = said(5000, temperature, bias, seed=2)
    assert brier(found.scaling.apply(new), grades) <= brier(new, grades)


def test_groups_are_not_split() -> None:
    # Each question's pairs are copies: split between folds they would teach their own answers.
    probabilities, labels = said(12, seed=5)
    copies, names = np.repeat(np.arange(12), 30), [f"q{i}" for i in np.repeat(np.arange(12), 30)]
    split = choose(probabilities[copies], labels[copies]).nll["vector"]
    whole = choose(probabilities[copies], labels[copies], names).nll["vector"]
    assert whole > split + 0.1


rows = st.lists(
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3).filter(lambda row: sum(row) > 0.01),
    min_size=1,
    max_size=10,
)


@given(rows, st.data())
@settings(deadline=None, max_examples=50)
def test_what_comes_out_are_distributions(given: list[list[float]], data: st.DataObject) -> None:
    probabilities = np.array(given) / np.sum(given, axis=1, keepdims=True)
    labels = [data.draw(st.integers(0, 2)) for _ in given]
    new = np.concatenate([probabilities, np.eye(3), [[1e-300, 1 - 1e-16, 0]]])
    for kind in KINDS:
        calibrated = kind.fit(probabilities, labels).apply(new)
        assert np.isfinite(calibrated).all()
        assert (calibrated >= 0).all()
        assert calibrated.sum(axis=1) == pytest.approx(np.ones(len(new)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_goes_through_json(kind: type[Scaling]) -> None:
    probabilities, labels = said(50, 2.0)
    fitted = kind.fit(probabilities, labels)
    again = of(json.loads(json.dumps(fitted.record())))
    assert again == fitted == of(fitted.record())
    assert again.apply(probabilities).tolist() == fitted.apply(probabilities).tolist()
    assert again.apply(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {"kind": "platt"},
        {"kind": ["none"]},
        {"kind": "none", "temperature": 1.0},
        {"kind": "temperature"},
        {"kind": "temperature", "temperature": 0},
        {"kind": "temperature", "temperature": "hot"},
        {"kind": "temperature", "temperature": [1.0]},
        {"kind": "temperature", "temperature": True},
        {"kind": "temperature", "temperature": float("nan")},
        {"kind": "vector", "weights": [1, 1], "biases": [0]},
        {"kind": "vector", "weights": [1], "biases": [0]},
        {"kind": "vector", "weights": [1, None], "biases": [0, 0]},
        {"kind": "vector", "weights": 1, "biases": [0, 0]},
        {"kind": "vector", "weights": ["1", "1"], "biases": [0, 0]},
        {"kind": "vector", "weights": [[1, 2], [3]], "biases": [0, 0]},
        {"kind": "isotonic", "curves": []},
        {"kind": "isotonic", "curves": [[[0, 0], [1, 1]]]},
        {"kind": "isotonic", "curves": [[], []]},
        {"kind": "isotonic", "curves": [[[0, 1], [1, 0]], [[0, 0], [1, 1]]]},
        {"kind": "isotonic", "curves": [[[0, 0], [1, 2]], [[0, 0], [1, 1]]]},
    ],
)
def test_nonsense_is_no_record(record: Any) -> None:
    with pytest.raises(SpecialistError, match="the recorded calibration cannot be used"):
        of(record)


TWO = [[0.5, 0.5], [0.1, 0.9]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Identity().apply([0.5, 0.5]), r"shape \[n, grades\] .* not \(2,\)"),
        (lambda: Identity().apply([[1.0]]), r"two or more grades, not \(1, 1\)"),
        (lambda: Temperature(2.0).apply([[0.5, np.nan]]), r"finite and not negative"),
        (lambda: Temperature(2.0).apply([[1.5, -0.5]]), r"apply a softmax to logits"),
        (lambda: Temperature(2.0).apply([[0.5, 0.5], [0.9, 0.9]]), r"row 1 .* sums to 1.8"),
        (lambda: Vector((1, 1), (0, 0)).apply([[0.2, 0.3, 0.5]]), r"of 2 grades, the .* of 3"),
        (lambda: Isotonic.fit(TWO, [0, 1]).apply([[0.2, 0.3, 0.5]]), r"of 2 grades, the .* of 3"),
        (lambda: Temperature.fit(np.zeros((0, 2)), []), r"no example to fit to"),
        (lambda: Vector.fit(TWO, [0]), r"labels \(1,\) must be as many as the 2 rows"),
        (lambda: Isotonic.fit(TWO, [0, 2]), r"labels must be grades from 0 to 1"),
        (lambda: Identity.fit(TWO, [0.5, 1]), r"labels must be grades from 0 to 1"),
        (lambda: choose(TWO, [0, 1]), r"2 groups cannot be split into 5 folds"),
        (lambda: choose(TWO, [0, 1], ["a"]), r"2 examples but 1 groups"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="penalty must be above 0"):
        Vector.fit(TWO, [0, 1], penalty=0)
    with pytest.raises(ConfigError, match="folds must be at least 2"):
        choose(TWO, [0, 1], folds=1)
