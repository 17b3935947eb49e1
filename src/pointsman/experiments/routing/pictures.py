"""The pictures of the routing experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.data.draw import drawn
from pointsman.errors import InputError, MissingDependencyError
from pointsman.evaluate.tables import Cell
from pointsman.experiments.drawing import (
    COLOURS,
    MARKERS,
    draw_panels,
    drawing,
    line_names,
    line_style,
)
from pointsman.types import FloatArray

Point = tuple[float, float, float]
"""A value, the lowest and the highest it may be."""
Curves = Mapping[str, Mapping[str, Mapping[int, Point]]]
"""Panel -> line -> x -> a point."""


def embedding_map(
    seen: Mapping[str, FloatArray],
    unseen: Mapping[str, FloatArray],
    pilots: FloatArray,
    experts: Sequence[str],
    path: Path,
    *,
    count: int = 150,
    seed: int = 0,
) -> Path:
    """Queries [n, d] of each set, at most `count` of them, in the plane by t-SNE (the paper's Figure 2).

    Sets with an expert are filled, the others hollow. Crosses are the `pilots` [p, d], brought to
    unit length, each with the name of the expert that it speaks for, `experts` [p].
    """
    groups = [
        vectors[drawn(len(vectors), count, seed)] for vectors in (*seen.values(), *unseen.values())
    ]
    unit = pilots / np.maximum(np.linalg.norm(pilots, axis=1, keepdims=True), 1e-12)
    with drawing(path, 7.5, 5.5) as figure:
        *places, crosses = _in_the_plane([*groups, unit], seed)
        axes = figure.add_subplot()
        axes.set_axis_off()  # t-SNE's directions mean nothing
        for number, (name, place) in enumerate(zip((*seen, *unseen), places, strict=True)):
            known = number < len(seen)
            style = number if known else number - len(seen)
            colour = COLOURS[style % len(COLOURS)]
            axes.scatter(
                *place.T,
                s=12,
                marker=MARKERS[style % len(MARKERS)],
                facecolors=colour if known else "none",
                edgecolors=colour,
                linewidths=0.7,
                label=name if known else f"{name} (unseen)",
            )
        axes.scatter(*crosses.T, s=70, marker="x", c="black", linewidths=1.4, label="pilots")
        # Pilots of one set lie close together: their names go below each other.
        close = 0.03 * float(np.ptp(np.concatenate([*places, crosses]), axis=0).max())
        for number, (place, expert) in enumerate(zip(crosses, experts, strict=True)):
            before = np.linalg.norm(crosses[:number] - place, axis=1) < close
            axes.annotate(
                expert,
                place,
                xytext=(6, 4 - 8 * int(before.sum())),
                textcoords="offset points",
                fontsize=7,
                bbox={"boxstyle": "square,pad=0.1", "fc": "white", "alpha": 0.7, "lw": 0},
            )
        figure.legend(loc="outside right upper")
    return path


def heat_maps(
    maps: Mapping[str, npt.NDArray[np.floating]],
    sets: Sequence[str],
    experts: Sequence[str],
    path: Path,
) -> Path:
    """Shares [sets, experts] as heat maps side by side, each under its title (the paper's Figure 6)."""
    width, height = len(experts), len(sets)
    with drawing(path, 1.2 + 0.33 * width * len(maps), 1.2 + 0.26 * height) as figure:
        panels = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
        for axes, (title, shares) in zip(panels, maps.items(), strict=True):
            axes.pcolormesh(shares, cmap="Greys", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
            for (row, column), share in np.ndenumerate(shares):
                if share < 0.005:
                    continue
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    color="white" if share > 0.5 else "black",
                    fontsize=7,
                )
            axes.set_title(title)
            axes.set_xticks(np.arange(width) + 0.5, experts, rotation=90)
            axes.set_yticks(np.arange(height) + 0.5, sets)
            axes.set_ylim(height, 0)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
        panels[0].set_ylabel("queries of")
        figure.supxlabel("share of each expert, %", fontsize=8)
    return path


def growth(rows: Sequence[Sequence[Cell]], path: Path) -> Path:
    """Experts added one by one (Figures 4 and 5), from the rows of `studies.added_one_by_one`.

    A row is a number of experts, a router, "seen" or "unseen", and the mean, lowest and highest
    nDCG@10 over the orders in which experts came. Raises InputError for any other.
    """
    curves: dict[str, dict[str, dict[int, Point]]] = {}
    for row in rows:
        match row:
            case [int(count), str(router), str(part), float(mean), float(low), float(high)]:
                line = curves.setdefault(f"{part} sets", {}).setdefault(router, {})
                line[count] = (100 * mean, 100 * low, 100 * high)
            case _:
                raise InputError(f"{row}: not a row of the table of experts added one by one")
    counts = sorted({x for lines in curves.values() for line in lines.values() for x in line})
    with drawing(path, 6.5, 3.2) as figure:
        for axes in _lines(figure, curves, "experts", "nDCG@10 × 100"):
            axes.set_xticks(counts)
    return path


def size_curves(gains: Curves, path: Path) -> Path:
    """Training-set size (Figure 3): what nDCG@10 gains over the base, in and out of the domain.

    Part -> set -> training queries -> the gain and its interval, as `sizes.size_curves` gives them.
    """
    curves = {
        part: {
            name: {
                size: (100 * gain, 100 * low, 100 * high)
                for size, (gain, low, high) in line.items()
            }
            for name, line in lines.items()
        }
        for part, lines in gains.items()
    }
    sizes = [size for lines in curves.values() for line in lines.values() for size in line]
    ticks = [
        tick
        for power in range(7)
        for tick in (10**power, 3 * 10**power)
        if min(sizes) <= tick <= max(sizes)
    ]
    with drawing(path, 7.5, 3.0) as figure:
        for axes in _lines(figure, curves, "training queries", "nDCG@10 × 100, over the base"):
            axes.axhline(0, color="black", linewidth=0.6, zorder=0)
            axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.set_xticks([], minor=True)
    return path


def _lines(figure: Any, curves: Curves, x: str, y: str) -> Sequence[Any]:
    """Axes for each panel, with its lines in their bands and one legend for all, in one row."""
    return draw_panels(figure, curves, x, y, _band, columns=len(line_names(curves)))


def _band(axes: Any, name: str, points: Mapping[int, Point], number: int) -> None:
    at = sorted(points)
    value, low, high = np.array([points[each] for each in at]).T
    style = line_style(number)
    axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(at, value, **style, label=name)


def _in_the_plane(groups: Sequence[FloatArray], seed: int) -> list[npt.NDArray[np.floating]]:
    """All vectors [n, d] of the groups together as points [n, 2], group by group."""
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise MissingDependencyError(
            "a map of embeddings needs scikit-learn; pip install 'pointsman[experiments]'"
        ) from None
    vectors = np.concatenate(groups)
    plane = TSNE(
        perplexity=min(30.0, (len(vectors) - 1) / 3), init="pca", random_state=seed
    ).fit_transform(vectors)
    return np.split(plane, np.cumsum([len(group) for group in groups])[:-1])
