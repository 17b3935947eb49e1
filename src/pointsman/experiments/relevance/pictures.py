"""The pictures of the relevance experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.errors import InputError
from pointsman.evaluate.calibration import Reliability
from pointsman.experiments.drawing import (
    COLOURS,
    DASHES,
    draw_panels,
    drawing,
    line_names,
    line_style,
    one_legend,
)

Point = tuple[float, float, float]
"""A value, the lowest and the highest it may be; all three alike: no bar."""
Curves = Mapping[str, Mapping[str, Mapping[float, Point]]]
"""Panel -> line -> x -> a point."""

_HATCHES = ("///", "\\\\\\")


def reliability_diagrams(diagrams: Mapping[str, Reliability], path: Path) -> Path:
    """Accuracy by confidence, one model a panel, and below how many examples each bin holds.

    A hatched bar is the gap between a bin's accuracy and its mean confidence. Raises InputError for
    no diagram, for adaptive bins, whose edges are not known, and for different numbers of bins.
    """
    _refuse_nothing(diagrams)
    if len({len(diagram.size) for diagram in diagrams.values()}) > 1:
        raise InputError("reliability diagrams side by side need the same number of bins")
    for name, diagram in diagrams.items():
        _refuse_adaptive(name, diagram)
    with drawing(path, 0.8 + 2.2 * len(diagrams), 3.9) as figure:
        above, below = figure.subplots(
            2,
            len(diagrams),
            sharex=True,
            sharey="row",
            squeeze=False,
            height_ratios=(3, 1),
        )
        for axes, (name, diagram) in zip(above, diagrams.items(), strict=True):
            _gaps(axes, diagram)
            axes.set_title(f"{name}\nECE {100 * diagram.error:.1f} %")
        for axes, diagram in zip(below, diagrams.values(), strict=True):
            _counts(axes, diagram)
            axes.set_xlabel("confidence")
        above[0].set_ylabel("accuracy")
        below[0].set_ylabel("examples")
        one_legend(figure, above)
    return path


def entropy_histograms(
    entropies: Mapping[str, Mapping[str, npt.ArrayLike]],
    grades: int,
    path: Path,
    *,
    bins: int = 20,
) -> Path:
    """How unsure a model is, before and after: shares of examples by the entropy of their grades.

    `entropies` are panel -> "before", "after", … -> entropies [n] in nats, from 0 to log `grades`,
    the dotted line. Raises InputError for none and for others.
    """
    _refuse_nothing(entropies)
    if grades < 2:
        raise InputError(f"an entropy needs two or more grades, not {grades}")
    most = math.log(grades)
    panels = {
        title: {
            name: _checked_entropies(f"{title}, {name}", values, most)
            for name, values in groups.items()
        }
        for title, groups in entropies.items()
    }

    def shares(axes: Any, name: str, values: npt.NDArray[np.float64], number: int) -> None:
        counts, edges = np.histogram(values, bins, range=(0, most))
        axes.stairs(
            100 * counts / values.size,
            edges,
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.3,
            label=name,
        )

    with drawing(path, 0.8 + 2.6 * len(panels), 2.8) as figure:
        for axes in draw_panels(figure, panels, "entropy, nats", "share of examples, %", shares):
            axes.axvline(most, color="black", linewidth=0.6, linestyle=":")
    return path


def interpolation_curves(curves: Curves, path: Path, *, y: str) -> Path:
    """A measure, named by `y`, against the weight α from 0 to 1 between two sets of parameters.

    Raises InputError for no curve and for an α elsewhere.
    """
    _refuse_nothing(curves)
    for lines in curves.values():
        for name, points in lines.items():
            if not all(0 <= alpha <= 1 for alpha in points):
                raise InputError(f"{name}: α lies between 0 and 1, not at {sorted(points)}")
    with drawing(path, 0.8 + 2.8 * len(curves), 3.0) as figure:
        for axes in _curves(figure, curves, "α", y, apart=0.008):
            axes.set_xlim(-0.04, 1.04)
    return path


def budget_curves(curves: Curves, path: Path, *, y: str) -> Path:
    """A measure, named by `y`, against labelled examples, one line a strategy of choosing them.

    Budgets stand evenly apart, as they do where each is a multiple of the one before.
    Raises InputError for no curve and for a budget below 0.
    """
    _refuse_nothing(curves)
    budgets = sorted({x for lines in curves.values() for line in lines.values() for x in line})
    if not budgets or budgets[0] < 0:
        raise InputError(f"budgets are numbers of examples, not {budgets}")
    places: Curves = {
        panel: {
            name: {budgets.index(budget): value for budget, value in line.items()}
            for name, line in lines.items()
        }
        for panel, lines in curves.items()
    }
    with drawing(path, 0.8 + 2.8 * len(curves), 3.0) as figure:
        for axes in _curves(figure, places, "labelled examples", y, apart=0.05):
            axes.set_xticks(range(len(budgets)), [f"{budget:,g}" for budget in budgets])
    return path


def _gaps(axes: Any, diagram: Reliability) -> None:
    """Bars of accuracy, the gaps to the mean confidence, and the line where there is none."""
    bins = len(diagram.size)
    left = np.arange(bins) / bins
    accuracy, confidence = np.nan_to_num(diagram.accuracy), np.nan_to_num(diagram.confidence)
    place = {"width": 1 / bins, "align": "edge", "linewidth": 0.5}
    axes.bar(
        left, accuracy, color=COLOURS[5], edgecolor="white", **place, label="accuracy of the bin"
    )
    gap = confidence - accuracy
    for sign, name, hatch, colour in zip(
        (1, -1), ("over-confident by", "under-confident by"), _HATCHES, COLOURS[1:3], strict=True
    ):
        axes.bar(
            left,
            np.maximum(sign * gap, 0),
            bottom=np.minimum(accuracy, confidence),
            facecolor="none",
            edgecolor=colour,
            hatch=hatch,
            **place,
            label=name,
        )
    axes.plot((0, 1), (0, 1), color="black", linewidth=0.8, linestyle="--", label="calibrated")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _counts(axes: Any, diagram: Reliability) -> None:
    """How many examples each bin holds, the number above its bar."""
    bins = len(diagram.size)
    centres = (np.arange(bins) + 0.5) / bins
    axes.bar(centres, diagram.size, width=0.8 / bins, color="grey")
    for centre, size in zip(centres, diagram.size, strict=True):
        if size:
            axes.annotate(
                f"{size}",
                (centre, size),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=5,
            )
    axes.margins(y=0.6)  # room for the numbers


def _curves(figure: Any, curves: Curves, x: str, y: str, apart: float) -> Sequence[Any]:
    """Axes for each panel, with its lines, their error bars, and one legend for all.

    Lines stand `apart` in x, so that their bars do not cover each other.
    """
    for title, lines in curves.items():
        for line, points in lines.items():
            _refuse_crooked(f"{title}, {line}", points)
    last = len(line_names(curves)) - 1

    def with_bars(axes: Any, name: str, points: Mapping[float, Point], number: int) -> None:
        at = sorted(points)
        value, low, high = np.array([points[each] for each in at], dtype=np.float64).T
        axes.errorbar(
            np.array(at) + apart * (number - last / 2),
            value,
            yerr=(value - low, high - value) if (high > low).any() else None,
            **line_style(number),
            elinewidth=0.7,
            capsize=2,
            label=name,
        )

    return draw_panels(figure, curves, x, y, with_bars)


def _refuse_nothing(panels: Mapping[str, Any]) -> None:
    if not panels or any(panel == {} for panel in panels.values()):
        raise InputError("there is nothing to draw; give one or more panels, each with something")


def _refuse_crooked(name: str, points: Mapping[float, Point]) -> None:
    if not points:
        raise InputError(f"{name}: a line without points; leave it out")
    if not all(low <= value <= high for value, low, high in points.values()):
        raise InputError(f"{name}: a value lies outside its own interval")


def _checked_entropies(name: str, given: npt.ArrayLike, most: float) -> npt.NDArray[np.float64]:
    values = np.asarray(given, dtype=np.float64)
    # Entropies in float32 pass the highest one by a little.
    if values.size == 0 or not ((values >= -1e-6) & (values <= most + 1e-3)).all():
        raise InputError(f"{name}: entropies in nats from 0 to {most:.3f} are wanted")
    return values.clip(0, most)


def _refuse_adaptive(name: str, diagram: Reliability) -> None:
    filled = np.flatnonzero(diagram.size)
    bins, mean = len(diagram.size), diagram.confidence[filled]
    if ((mean < filled / bins - 1e-9) | (mean > (filled + 1) / bins + 1e-9)).any():
        raise InputError(
            f"{name}: a bin's confidence lies outside it; draw bins of equal width, not adaptive ones"
        )
