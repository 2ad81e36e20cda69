"""The sections of a report on a segmentation; Matplotlib and NumPy are imported in functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.tasks.report import ReportSection, ReportTable
from medpipe.tasks.tables import titled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from medpipe.tasks.report import ReportContext
    from medpipe.tasks.step import Array

MOST = 16
"""The structures of which a distribution is drawn."""
INK, MUTED, DOTS, LINE = "#1c2128", "#5c6670", "#0b62b0", "#c2410c"
"""Colours of reports, which change with the theme of the page."""


def structure_sections(context: ReportContext) -> list[ReportSection]:
    """Metrics by structure, the distribution over cases, and the worst cases by name."""
    metrics = context.metrics
    tables = [_by_structure(metrics)] if metrics.get("name_table") else []
    text = []
    worst = metrics.get("worst_cases", ())
    if worst and context.paths:
        tables.append(_worst(worst, context.names))
    elif worst:
        text.append("The worst cases are not named.")
    figures: dict[str, Figure] = {}
    if (context.labels > 0).any():
        figures["Each dot is a case that has the structure; the line is their median."] = (
            distribution_figure(context.labels, context.scores, context.names)
        )
    return [ReportSection(title="By structure", text=text, tables=tables, figures=figures)]


def distribution_figure(labels: Array, scores: Array, names: Sequence[str]) -> Figure:
    """Dice and NSD of each case by structure.

    Args:
        labels: As `Predictions.labels` of a segmentation.
        scores: As `Predictions.scores` of a segmentation.
        names: The structures.
    """
    import numpy as np
    from matplotlib.figure import Figure

    cases = scores.reshape(len(scores), len(names), -1)
    shown = list(names)[:MOST]
    made = Figure(figsize=(7.6, 1.1 + 0.42 * len(shown)), layout="constrained")
    plots = made.subplots(1, 2, sharey=True)
    for plot, measure, title in zip(plots, (0, 1), ("Dice", "NSD"), strict=True):
        for row in range(len(shown)):
            values = cases[labels[:, row] > 0, row, measure]
            values = np.sort(values[~np.isnan(values)])
            # Beside each other by their rank, so that equal values are seen to be several.
            spread = row + 0.28 * np.sin(2.4 * np.arange(len(values)))
            plot.plot(values, spread, "o", markersize=2.5, alpha=0.6, color=DOTS)
            if len(values):
                plot.vlines(np.median(values), row - 0.38, row + 0.38, color=LINE)
        plot.set_xlim(-0.02, 1.02)
        plot.set_xlabel(title)
        plot.xaxis.label.set_color(INK)
        plot.tick_params(color=MUTED, labelcolor=INK)
        plot.spines[["left", "bottom"]].set_color(MUTED)
        plot.spines[["top", "right"]].set_visible(False)
    plots[0].set_yticks(range(len(shown)), shown)
    plots[0].set_ylim(len(shown) - 0.5, -0.5)
    return made


def _by_structure(metrics: Mapping[str, Any]) -> ReportTable:
    counts, table = metrics["structures"], metrics["name_table"]
    measures = list(next(iter(table.values()))["intervals"])
    rows = []
    for name, one in table.items():
        found = counts[name]
        cells: list[object] = [name, found["cases"], found["missed"]]
        cells.append(f"{found['invented']} of {found['absent']}" if found["absent"] else "")
        cells += [_with_interval(one[key], one["intervals"][key]) for key in measures]
        rows.append(cells)
    heads = [titled(key, metrics).replace("_", " ") for key in measures]
    columns = ["", "cases", "missed", "invented", *heads]
    return ReportTable(
        columns=columns,
        rows=rows,
        caption="With 95 % intervals, over the cases that have the structure (hd95: the median). "
        "Invented: of the cases without it those in which some is predicted.",
    )


def _worst(worst: Sequence[Mapping[str, Any]], names: Sequence[str]) -> ReportTable:
    rows = [
        [case["id"], _number(case["value"]), *(_number(case["names"].get(name)) for name in names)]
        for case in worst
    ]
    return ReportTable(
        columns=["case", "mean", *names], rows=rows, caption="The worst cases by Dice"
    )


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
