"""The pictures of the deferral experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pointsman.evaluate.calibration import reliability
from pointsman.experiments.deferral.bed import Bed
from pointsman.experiments.deferral.measured import outcome
from pointsman.experiments.deferral.rows import NEAREST, OURS, SURROGATE, Fold, Given, Row
from pointsman.experiments.drawing import COLOURS, DASHES, MARKERS, drawing
from pointsman.experiments.relevance.pictures import reliability_diagrams

# With ours as many as there are colours; the best single agent is a cross on the picture.
_LINES = (NEAREST, "surrogate, u = 1, printed", SURROGATE)
_BELOW, _ABOVE = 15, 4  # points of exact match about the best agent
_HATCHES = ("", "//", "\\\\", "xx", "..", "oo")


def draw_frontier(
    bed: Bed,
    found: Mapping[tuple[str, float], Given],
    chosen: Sequence[Row],
    prices: Sequence[float],
    path: Path,
) -> Path:
    """Exact match by cost: each agent a point, each way to allocate a line over the prices.

    What is far below the best agent is left out, so that the frontier can be seen.
    """
    units = bed.costs.mean(axis=0) / bed.units.max()
    with drawing(path, 5.2, 3.4) as figure:
        axes = figure.subplots()
        alone = 100 * bed.em.mean(axis=0)
        shown = [j for j in range(len(alone)) if alone[j] > alone.max() - _BELOW]
        for place, j in enumerate(shown):
            axes.plot(units[j], alone[j], "x", color="0.2", zorder=3)
            # Above and below in turn: neighbours' names would lie on one another.
            above = (0, 5) if place % 2 else (0, -10)
            axes.annotate(
                bed.agents[j],
                (units[j], alone[j]),
                above,
                textcoords="offset points",
                fontsize=6,
                ha="center",
            )
        lines = [r.name for r in chosen if r.name in _LINES or (r.kind == "ours")]
        for i, name in enumerate(lines):
            points = []
            for price in prices:
                em, _, cost = outcome(bed, found[name, price])
                points.append((float(cost.mean()), 100 * float(em.mean())))
            x, y = zip(*sorted(points), strict=True)
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            axes.plot(x, y, DASHES[i % len(DASHES)], label=name, markersize=3, **style)
        axes.set_xscale("log")
        axes.set_xlim(0.6 * min(units[j] for j in shown), 1.5 * units.sum())
        axes.set_ylim(alone.max() - _BELOW, alone.max() + _ABOVE)
        axes.set_xlabel(f"cost of all that were asked, {bed.agents[-1]} alone 1")
        axes.set_ylabel("exact match")
        axes.set_title(bed.name)
        axes.legend(fontsize=6)
    return path


def draw_calibration(
    bed: Bed,
    folds: Sequence[Fold],
    found: Mapping[tuple[str, float], Given],
    prices: Sequence[float],
    path: Path,
) -> Path:
    """How often what was foreseen came true: of all agents before anyone was asked, and of the answers given."""
    foreseen = {
        "all agents, before asking": np.concatenate([fold.foreseen for fold in folds]),
        "the same, logistic": np.concatenate([1 - fold.expected for fold in folds]),
    }
    right = np.concatenate([fold.test.em for fold in folds])
    diagrams = {what: reliability(each.ravel(), right.ravel()) for what, each in foreseen.items()}
    rows = np.arange(len(bed))
    for price in prices:
        given = found[OURS, price]
        if given.chance is not None:
            em = bed.em[rows, given.given]
            diagrams[f"answers given, price {price:g}"] = reliability(given.chance, em)
    return reliability_diagrams(diagrams, path)


def draw_shares(bed: Bed, shares: Mapping[float, npt.NDArray[np.float64]], path: Path) -> Path:
    """How often each agent is asked, by price."""
    with drawing(path, 5.2, 3.0) as figure:
        axes = figure.subplots()
        width = 0.8 / len(bed.agents)
        for j, name in enumerate(bed.agents):
            heights = [100 * float(each[j]) for each in shares.values()]
            axes.bar(
                np.arange(len(shares)) + j * width,
                heights,
                width,
                label=name,
                color=COLOURS[j % len(COLOURS)],
                hatch=_HATCHES[j // len(COLOURS)],
            )
        axes.set_xticks(np.arange(len(shares)) + 0.4, [f"{price:g}" for price in shares])
        axes.set_xlabel("price: correct answers for one unit of cost")
        axes.set_ylabel("questions asked of it, %")
        axes.set_title(f"{bed.name}: who is asked")
        axes.legend(fontsize=6, ncols=2)
    return path
