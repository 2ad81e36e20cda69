"""Colours, sizes and the `Figure` of reports.

Matplotlib is imported inside functions.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, ON = "#1c2128", "#5c6670", "#dde2e7", "#fefefd"
"""Text, secondary text, lines of the grid, and text on a strong colour."""
SERIES = (
    "#0b62b0",
    "#c2410c",
    "#0f7b4f",
    "#8a3ab9",
    "#a16207",
    "#be185d",
    "#0e7490",
    "#4d5b6a",
)
"""Told apart also by people who see few colours, together with `DASHES`."""
DASHES = ("-", "--", "-.", ":")
DARK = {
    INK: "#e6e9ee",
    MUTED: "#a3acb7",
    GRID: "#343b45",
    ON: "#0f141a",
    **dict(
        zip(
            SERIES,
            (
                "#6cb2f7",
                "#fb923c",
                "#4ade9a",
                "#c99af5",
                "#eab95a",
                "#f472b6",
                "#45c7dd",
                "#a9b5c1",
            ),
            strict=True,
        )
    ),
}
"""What each colour is on a dark page."""
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    ON: "--on",
    **{colour: f"--s{place}" for place, colour in enumerate(SERIES)},
}
"""The CSS variable of each colour."""
_SETTINGS: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "path.simplify_threshold": 0.5,
    "svg.fonttype": "none",  # text stays text, which can be searched
    "text.parse_math": False,  # names of classes are no formulas
}


def figure(width: float = 3.75, height: float = 3.2) -> Figure:
    """An empty figure.

    It shows itself in Jupyter, whether or not ``matplotlib.pyplot`` is imported, and belongs to
    no global state.

    Args:
        width: In inches of 96 pixels.
        height: In the same.
    """
    from matplotlib.figure import Figure

    class RunFigure(Figure):
        """A figure that shows itself in Jupyter."""

        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png", dpi=120, facecolor="white")
            return content.getvalue()

    with settings():
        made = RunFigure(figsize=(width, height), layout="constrained")
    made.patch.set_visible(False)
    return made


def axes(made: Figure, *arguments: Any, **options: Any) -> Axes:
    """Axes of a figure in the style of reports; arguments as of ``Figure.add_subplot``."""
    with settings():
        found: Axes = made.add_subplot(*arguments, **options)
    found.patch.set_visible(False)
    return found


def settings() -> Any:
    """A context in which Matplotlib draws in the style of reports."""
    import matplotlib as mpl

    return mpl.rc_context(_SETTINGS)


def series(place: int) -> dict[str, Any]:
    """Colour and dashes of the n-th line."""
    return {
        "color": SERIES[place % len(SERIES)],
        "linestyle": DASHES[place // len(SERIES) % len(DASHES)],
    }
