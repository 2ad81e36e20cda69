"""The figure of the learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medpipe.report.style import MUTED, axes, figure, series, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float | None]]


def history_figure(rows: Rows, *, monitor: str, best: int | None) -> Figure:
    """Losses, the monitored metric and the learning rate of each epoch.

    Args:
        rows: Those of ``history.csv``.
        monitor: The metric that decides which network is the best.
        best: The epoch of the best network; None: there is none.
    """
    metric = f"validation_{monitor}"
    panels: list[tuple[str, list[tuple[str, str]]]] = [
        ("loss", [("training_loss", "training"), ("validation_loss", "validation")])
    ]
    if monitor != "loss" and _some(rows, metric):
        panels.append((monitor.replace("_", " "), [(metric, "validation")]))
    if _some(rows, "learning_rate"):
        panels.append(("learning rate", [("learning_rate", "learning rate")]))
    from matplotlib.ticker import MaxNLocator

    made = figure(3.9, 0.7 + 1.55 * len(panels))
    with settings():
        first: Any = None
        for place, (label, lines) in enumerate(panels):
            plot = axes(made, len(panels), 1, place + 1, sharex=first)
            first = first or plot
            for number, (column, name) in enumerate(lines):
                points = [(r["epoch"], r[column]) for r in rows if r.get(column) is not None]
                if points:
                    x, y = zip(*points, strict=True)
                    plot.plot(x, y, marker="o", markersize=3, label=name, **series(number))
            plot.set_ylabel(label)
            if best is not None:
                plot.axvline(best, color=MUTED, linewidth=1, linestyle=":")
            plot.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if place < len(panels) - 1:
                plot.tick_params(labelbottom=False)
            if len(lines) > 1:
                plot.legend()
        plot.set_xlabel("epoch" if best is None else f"epoch (dotted: the best, {best})")
    return made


def _some(rows: Rows, column: str) -> bool:
    return any(row.get(column) is not None for row in rows)
