"""The pictures of the relevance experiment, in the style of the routing experiment's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.errors import InputError
from pointsman.evaluate.calibration import Reliability
from pointsman.experiments.routing.pictures import _COLOURS, _DASHES, _MARKERS, _drawing

Curves = Mapping[str, Mapping[str, Mapping[float, tuple[float, float, float]]]]
"""Panel -> line -> x -> a value, the lowest and the highest it may be; all three alike: no bar."""

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
    with _drawing(path, 0.8 + 2.2 * len(diagrams), 3.9) as figure:
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
        _one_legend(figure, above)
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
    with _drawing(path, 0.8 + 2.6 * len(entropies), 2.8) as figure:
        panels = figure.subplots(1, len(entropies), sharey=True, squeeze=False)[0]
        names = _names(entropies)
        for axes, (title, groups) in zip(panels, entropies.items(), strict=True):
            for name, given in groups.items():
                values = np.asarray(given, dtype=np.float64)
                # Entropies in float32 pass the highest one by a little.
                if values.size == 0 or not ((values >= -1e-6) & (values <= most + 1e-3)).all():
                    raise InputError(
                        f"{title}, {name}: entropies in nats from 0 to {most:.3f} are wanted"
                    )
                counts, edges = np.histogram(values.clip(0, most), bins, range=(0, most))
                style = names.index(name)
                axes.stairs(
                    100 * counts / values.size,
                    edges,
                    color=_COLOURS[style % len(_COLOURS)],
                    linestyle=_DASHES[style % len(_DASHES)],
                    linewidth=1.3,
                    label=name,
                )
            axes.axvline(most, color="black", linewidth=0.6, linestyle=":")
            axes.set_title(title)
            axes.set_xlabel("entropy, nats")
            axes.tick_params(labelleft=True)
        panels[0].set_ylabel("share of examples, %")
        _one_legend(figure, panels)
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
    with _drawing(path, 0.8 + 2.8 * len(curves), 3.0) as figure:
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
    with _drawing(path, 0.8 + 2.8 * len(curves), 3.0) as figure:
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
        left, accuracy, color=_COLOURS[5], edgecolor="white", **place, label="accuracy of the bin"
    )
    gap = confidence - accuracy
    for sign, name, hatch, colour in zip(
        (1, -1), ("over-confident by", "under-confident by"), _HATCHES, _COLOURS[1:3], strict=True
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
    panels: Sequence[Any] = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    names = _names(curves)
    for axes, (title, lines) in zip(panels, curves.items(), strict=True):
        for name, points in lines.items():
            style = names.index(name)
            if not points:
                raise InputError(f"{title}, {name}: a line without points; leave it out")
            at = sorted(points)
            value, low, high = np.array([points[each] for each in at], dtype=np.float64).T
            if not ((low <= value) & (value <= high)).all():
                raise InputError(f"{title}, {name}: a value lies outside its own interval")
            aside = apart * (style - (len(names) - 1) / 2)
            axes.errorbar(
                np.array(at) + aside,
                value,
                yerr=(value - low, high - value) if (high > low).any() else None,
                color=_COLOURS[style % len(_COLOURS)],
                linestyle=_DASHES[style % len(_DASHES)],
                marker=_MARKERS[style % len(_MARKERS)],
                markersize=4,
                linewidth=1.2,
                elinewidth=0.7,
                capsize=2,
                label=name,
            )
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.tick_params(labelleft=True)
    panels[0].set_ylabel(y)
    _one_legend(figure, panels)
    return panels


def _names(panels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of all panels, each once: a line looks the same in each."""
    return list(dict.fromkeys(name for lines in panels.values() for name in lines))


def _one_legend(figure: Any, panels: Sequence[Any]) -> None:
    shown = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = min(len(shown), max(1, int(figure.get_figwidth() / 1.5)))
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns)


def _refuse_nothing(panels: Mapping[str, Any]) -> None:
    if not panels or any(panel == {} for panel in panels.values()):
        raise InputError("there is nothing to draw; give one or more panels, each with something")


def _refuse_adaptive(name: str, diagram: Reliability) -> None:
    filled = np.flatnonzero(diagram.size)
    bins, mean = len(diagram.size), diagram.confidence[filled]
    if ((mean < filled / bins - 1e-9) | (mean > (filled + 1) / bins + 1e-9)).any():
        raise InputError(
            f"{name}: a bin's confidence lies outside it; draw bins of equal width, not adaptive ones"
        )
