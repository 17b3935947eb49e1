from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from svg import Draw, check_same_every_time, check_without_matplotlib, words

from pointsman.errors import InputError
from pointsman.evaluate.calibration import reliability
from pointsman.experiments.relevance.pictures import (
    budget_curves,
    entropy_histograms,
    interpolation_curves,
    reliability_diagrams,
)

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def draw_reliability(path: Path) -> Path:
    generator = np.random.default_rng(0)
    confidence = 0.4 + 0.6 * generator.random(537)
    correct = generator.random(537) < confidence**2
    return reliability_diagrams(
        {
            "fine-tuned": reliability(confidence, correct),
            "after & calibrated": reliability(confidence**2, correct),
        },
        path,
    )


def draw_entropies(path: Path) -> Path:
    generator = np.random.default_rng(1)
    before, after = generator.beta([[1], [3]], [[4], [3]], size=(2, 200)) * math.log(4)
    panels = {"own domain": {"before": before, "after": after}, "shifted": {"before": after}}
    return entropy_histograms(panels, 4, path)


def draw_interpolation(path: Path) -> Path:
    line = {alpha / 4: (60 + alpha, 59.0 + alpha, 62.0 + alpha) for alpha in range(5)}
    flat = dict.fromkeys(line, (61.0, 61.0, 61.0))
    return interpolation_curves(
        {"own domain": {"weights": line, "probabilities": flat}, "shifted": {"weights": flat}},
        path,
        y="macro-F1 × 100",
    )


def draw_budget(path: Path) -> Path:
    panels = {
        "shifted": {
            strategy: dict.fromkeys((0, 100, 200, 1_600), (gain, gain - 1, gain + 2))
            for gain, strategy in enumerate(("random", "entropy", "distance", "both"))
        }
    }
    return budget_curves(panels, path, y="macro-F1 × 100")


DRAWN = pytest.mark.parametrize(
    "draw", [draw_reliability, draw_entropies, draw_interpolation, draw_budget]
)


@DRAWN
def test_a_picture_comes_out_the_same_every_time(draw: Draw, tmp_path: Path) -> None:
    check_same_every_time(draw, tmp_path)


@DRAWN
def test_without_matplotlib_it_says_what_to_install(
    draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_without_matplotlib(draw, tmp_path, monkeypatch)


def test_reliability_says_its_error_and_every_count(tmp_path: Path) -> None:
    confidence, correct = [0.1] * 37 + [0.95] * 41, [0] * 37 + [1] * 41
    diagram = reliability(confidence, correct, bins=10)
    found = words(reliability_diagrams({"probe": diagram}, tmp_path / "one.svg"))
    assert {"37", "41"} <= set(found)
    assert f"ECE {100 * diagram.error:.1f} %" in " ".join(found)
    both = words(draw_reliability(tmp_path / "two.svg"))
    for label in ("over-confident by", "under-confident by", "calibrated", "accuracy of the bin"):
        assert both.count(label) == 1  # one legend for all panels
    assert any("after & calibrated" in word for word in both)


def heights(path: Path, colour: str) -> list[float]:
    """Of the bars with edges of this colour, those higher than nothing, the legend's last."""
    found = []
    for node in ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}path"):
        if f"stroke: {colour}" in node.get("style", "") and "fill: url" in node.get("style", ""):
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", node.get("d", ""))]
            found.append(max(numbers[1::2]) - min(numbers[1::2]))
    return [height for height in found if height > 1e-6]


def test_a_gap_is_drawn_on_the_side_where_it_is(tmp_path: Path) -> None:
    # Confidence 0.5 of which 0.2 are right, then 0.9 of which all are.
    diagram = reliability([0.5] * 5 + [0.9] * 2, [1, 0, 0, 0, 0, 1, 1], bins=5)
    path = reliability_diagrams({"model": diagram}, tmp_path / "gaps.svg")
    over, under = (heights(path, colour) for colour in ("#d55e00", "#009e73"))
    assert (len(over), len(under)) == (2, 2)  # a bar and the legend's
    assert over[0] / under[0] == pytest.approx(0.3 / 0.1, rel=1e-3)


def test_histograms_share_their_legend(tmp_path: Path) -> None:
    found = words(draw_entropies(tmp_path / "entropy.svg"))
    assert {"own domain", "shifted", "entropy, nats", "share of examples, %"} <= set(found)
    assert (found.count("before"), found.count("after")) == (1, 1)


def test_curves_name_their_lines_and_axes(tmp_path: Path) -> None:
    found = words(draw_interpolation(tmp_path / "alpha.svg"))
    assert {"own domain", "shifted", "α", "macro-F1 × 100"} <= set(found)
    assert (found.count("weights"), found.count("probabilities")) == (1, 1)
    found = words(draw_budget(tmp_path / "budget.svg"))
    assert {"random", "entropy", "distance", "both", "100", "200", "1,600"} <= set(found)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda path: reliability_diagrams({}, path), "nothing to draw"),
        (lambda path: budget_curves({"shifted": {}}, path, y="F1"), "nothing to draw"),
        (
            lambda path: reliability_diagrams(
                {
                    "one": reliability([0.5], [1], bins=5),
                    "two": reliability([0.5], [1], bins=10),
                },
                path,
            ),
            "same number of bins",
        ),
        (
            lambda path: reliability_diagrams(
                {"one": reliability([0.91, 0.92, 0.93], [1, 1, 0], bins=3, adaptive=True)}, path
            ),
            "one: a bin's confidence lies outside it",
        ),
        (
            lambda path: entropy_histograms({"one": {"before": [1.0]}}, 2, path),
            r"one, before: entropies in nats from 0 to 0\.693",
        ),
        (lambda path: entropy_histograms({"one": {"before": []}}, 2, path), "one, before: entr"),
        (lambda path: entropy_histograms({"one": {"before": [0.0]}}, 1, path), "two or more"),
        (
            lambda path: interpolation_curves({"one": {"line": {1.5: (1, 1, 1)}}}, path, y="F1"),
            "line: α lies between 0 and 1",
        ),
        (
            lambda path: budget_curves({"one": {"line": {-1: (1, 1, 1)}}}, path, y="F1"),
            "budgets are numbers of examples",
        ),
        (
            lambda path: interpolation_curves({"one": {"line": {}}}, path, y="F1"),
            "one, line: a line without points",
        ),
        (
            lambda path: budget_curves({"one": {"line": {10: (1, 2, 3)}}}, path, y="F1"),
            "one, line: a value lies outside its own interval",
        ),
    ],
)
def test_bad_input(draw: Draw, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "wrong.svg")
    assert not (tmp_path / "wrong.svg").exists()
