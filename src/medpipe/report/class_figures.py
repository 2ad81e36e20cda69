"""Figures of classes and findings: confusion matrix, ROC, precision-recall, reliability.

Matplotlib and NumPy are imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.report.curves import Curve, one_against_rest, precision_recall, roc
from medpipe.report.style import GRID, INK, MUTED, ON, SERIES, axes, figure, series, settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from medpipe.evaluation.predictions import Predictions

MOST_LINES = 8
"""Curves in one figure; of more classes those of the lowest area are drawn."""
MOST_NUMBERS = 16
"""Classes up to which each cell of a confusion matrix has its numbers."""


def confusion_figure(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """The confusion matrix: counts, and the share of each true class as the colour.

    Args:
        confusion: Counts with a row for each true class.
        names: The classes.
    """
    import numpy as np

    counts = np.asarray(confusion, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    number = len(names)
    side = min(9.0, max(3.6, 1.6 + 0.52 * number))
    made = figure(side, side * 0.95)
    with settings():
        plot = axes(made)
        plot.grid(visible=False)
        for (row, column), share in np.ndenumerate(shares):
            _cell(plot, column, row, float(share))
            if number <= MOST_NUMBERS and totals[row, 0]:
                _cell_text(plot, column, row, int(counts[row, column]), float(share), number)
        plot.set_xlim(-0.5, number - 0.5)
        plot.set_ylim(number - 0.5, -0.5)
        plot.set_aspect("equal")
        size = 9 if number <= 12 else 7
        shown = [_short(name) for name in names]
        plot.set_xticks(range(number), shown, rotation=45, ha="right", fontsize=size)
        plot.set_yticks(range(number), shown, fontsize=size)
        plot.tick_params(length=0)
        plot.spines[:].set_visible(False)
        plot.set_xlabel("predicted")
        plot.set_ylabel("true")
    return made


def _cell(plot: Any, column: int, row: int, share: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.47, row - 0.47)
    plot.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=GRID, alpha=0.35, linewidth=0))
    if share > 0:
        # Squares, not an image: a page without images has no pixels at all.
        plot.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=SERIES[0], alpha=share, linewidth=0))


def _cell_text(plot: Any, column: int, row: int, count: int, share: float, number: int) -> None:
    colour = ON if share > 0.55 else (INK if count else MUTED)
    size = 10 if number <= 8 else 7
    options = {"ha": "center", "va": "center", "color": colour}
    if not count:
        plot.text(column, row, "0", fontsize=size, **options)
        return
    plot.text(column, row - 0.16, f"{count:,}", fontsize=size, **options)
    plot.text(column, row + 0.22, _percent(share), fontsize=size * 0.75, **options)


def _percent(share: float) -> str:
    """A share in whole per cent, but none of what is there, nor all of what is not."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 < share < 1 else f"{100 * share:.0f} %"


def roc_figure(predictions: Predictions) -> Figure:
    """ROC curves with 95 % bands: of each finding, or of each class against the rest."""
    found = _curves(predictions, roc)
    made = _curve_figure(found, "AUC")
    with settings():
        plot = made.axes[0]
        plot.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        plot.set_xlabel("1 - specificity")
        plot.set_ylabel("sensitivity")
    return made


def precision_recall_figure(predictions: Predictions) -> Figure:
    """Precision-recall curves with 95 % bands: of each finding, or of each class against the rest.

    The precision is the positive predictive value at the prevalence of these cases.
    """
    made = _curve_figure(_curves(predictions, precision_recall), "AP", drawstyle="steps-pre")
    with settings():
        plot = made.axes[0]
        plot.set_xlabel("recall (sensitivity)")
        plot.set_ylabel("precision")
    return made


def _curves(predictions: Predictions, compute: Any) -> dict[str, Curve]:
    names = predictions.task.names
    if predictions.labels.ndim == 1 and len(names) == 2:
        names = names[1:]  # that of the first class is the same, mirrored
    found = {name: compute(*one_against_rest(predictions, name)) for name in names}
    return {name: curve for name, curve in found.items() if curve is not None}


def _curve_figure(found: Mapping[str, Curve], area: str, **options: Any) -> Figure:
    chosen = sorted(found, key=lambda name: found[name].area)[:MOST_LINES]
    shown = [name for name in found if name in chosen]
    made = figure(3.9, 3.5 + 0.19 * len(shown))
    with settings():
        plot = axes(made)
        for place, name in enumerate(shown):
            curve, look = found[name], series(place)
            if len(curve.grid):
                strength = 0.16 if len(shown) < 3 else 0.08
                band = {"color": look["color"], "alpha": strength, "linewidth": 0}
                plot.fill_between(curve.grid, curve.low, curve.high, **band)
            label = f"{_short(name)}  {area} {curve.area:.4f}"
            plot.plot(curve.x, curve.y, label=label, **look, **options)
        plot.set_xlim(-0.02, 1.02)
        plot.set_ylim(-0.02, 1.02)
        if shown:
            made.legend(loc="outside lower center", ncols=1)
        else:
            plot.text(0.5, 0.5, "undefined: a class is absent", ha="center", color=MUTED)
        if len(shown) < len(found):
            plot.set_title(f"The {len(shown)} of {len(found)} with the lowest {area}")
    return made


def reliability_figure(before: Mapping[str, Any], after: Mapping[str, Any] | None = None) -> Figure:
    """The reliability diagram: how often what was said with a confidence was right.

    Args:
        before: What `medpipe.evaluation.calibration.calibration` gives.
        after: The same after temperature scaling; None: there is none.
    """
    made = figure(3.9, 4.1)
    with settings():
        grid = made.add_gridspec(2, 1, height_ratios=(3, 1))
        plot, counts = axes(made, grid[0]), axes(made, grid[1])
        plot.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for place, (found, label) in enumerate(((before, "as it is"), (after, "after scaling"))):
            if found is None:
                continue
            filled = [b for b in found["bins"] if b["cases"]]
            ece = found["ece"]
            named = label if ece is None else f"{label}  ECE {ece:.3f}"
            plot.plot(
                [b["confidence"] for b in filled],
                [b["share"] for b in filled],
                marker="os"[place],
                markersize=4,
                label=named,
                **series(place),
            )
            _bars(counts, found["bins"], place, of=1 if after is None else 2)
        plot.set_xlim(-0.02, 1.02)
        plot.set_ylim(-0.02, 1.02)
        plot.set_ylabel("share that is right")
        plot.tick_params(labelbottom=False)
        counts.set_xlim(-0.02, 1.02)
        counts.set_xlabel("confidence")
        counts.set_ylabel("cases")
        made.legend(loc="outside lower center", ncols=1)
    return made


def _bars(plot: Any, bins: Sequence[Mapping[str, Any]], place: int, of: int) -> None:
    width = (bins[0]["high"] - bins[0]["low"]) / of
    lefts = [b["low"] + place * width for b in bins]
    heights = [b["cases"] for b in bins]
    plot.bar(lefts, heights, width=width * 0.9, align="edge", color=SERIES[place])


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
