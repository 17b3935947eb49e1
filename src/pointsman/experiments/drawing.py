"""What the experiments' pictures share: SVG files that come out the same every time.

Whatever colour says, a marker, a line's style or a number says too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pointsman.errors import MissingDependencyError

Values = TypeVar("Values")

# Okabe and Ito's colours, which the colour-blind tell apart, but for the yellow, too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "<", ">")
DASHES = ("-", "--", ":", "-.")

_STYLE = {
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    # Text stays text, and what the file names inside it does not change from one time to the next.
    "svg.fonttype": "none",
    "svg.hashsalt": "pointsman",
}


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Any]:
    """A figure, in inches, that is written to `path` when the block ends. Needs no display.

    Raises MissingDependencyError without matplotlib.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "pictures need matplotlib; pip install 'pointsman[experiments]'"
        ) from None
    # From matplotlib's own defaults, whatever a user's configuration says.
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def draw_panels(
    figure: Any,
    panels: Mapping[str, Mapping[str, Values]],
    x: str,
    y: str,
    draw: Callable[[Any, str, Values, int], None],
    *,
    columns: int | None = None,
) -> Sequence[Any]:
    """Axes for each panel, side by side under their titles, and one legend for all.

    `panels` are title -> line -> what `draw` gets for it, besides the axes, the line's name for the
    legend, and its number. The number counts the lines of all panels, each name once, so that a
    line looks the same in each panel. `x` and `y` name the axes; `columns` as in `one_legend`.
    """
    row: Sequence[Any] = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    names = line_names(panels)
    for axes, (title, lines) in zip(row, panels.items(), strict=True):
        for name, values in lines.items():
            draw(axes, name, values, names.index(name))
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.tick_params(labelleft=True)
    row[0].set_ylabel(y)
    one_legend(figure, row, columns)
    return row


def line_names(panels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of all panels, each name once, in the order in which they come."""
    return list(dict.fromkeys(name for lines in panels.values() for name in lines))


def line_style(number: int) -> dict[str, Any]:
    """How a line with markers looks, for matplotlib; told apart without colour too."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.2,
    }


def one_legend(figure: Any, panels: Sequence[Any], columns: int | None = None) -> None:
    """A legend below the panels, each label once; by default in as many columns as have room."""
    shown = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = columns or min(len(shown), max(1, int(figure.get_figwidth() / 1.5)))
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns)
