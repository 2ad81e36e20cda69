"""The report of a comparison.

Matplotlib is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.report.blocks import Block, Drawings, Points, Section, Shown, Table, Text, interval
from medpipe.report.blocks import number as written
from medpipe.report.page import page
from medpipe.report.style import MUTED, axes, figure, series, settings
from medpipe.report.svg import svg
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def comparison_page(record: Mapping[str, Any], shown: Shown) -> str:
    """The report of a comparison as HTML.

    Args:
        record: What `medpipe.Comparison.record` gives.
        shown: What may be in it: without paths, runs are letters, and settings that may name
            files are left out.
    """
    letters = [chr(ord("A") + place) for place in range(len(record["names"]))]
    amount = f"{counted(record['images'], 'image')} of {counted(record['groups'], 'group')}"
    return page(
        title="Comparison of runs",
        subtitle=f"{record['split'].capitalize()} on {amount}.",
        sections=[
            _runs(record, letters, shown),
            _differences(record, letters),
            _metrics(record, letters),
            _settings(record, letters, shown),
        ],
    )


def _runs(record: Mapping[str, Any], letters: Sequence[str], shown: Shown) -> Section:
    blocks: list[Block] = []
    if record["remarks"]:
        said = [f"{remark[0].upper()}{remark[1:]}" for remark in record["remarks"]]
        blocks.append(Points(items=said, warn=True))
    if shown.paths:
        rows = list(zip(letters, map(str, record["names"]), strict=True))
        blocks.append(Table(columns=["", "run or set of runs"], rows=rows))
    else:
        blocks.append(Text(text=f"{', '.join(letters)}: each a run or a set of runs."))
    rights = [
        [f"{letters[0]} and {other}", *(cases[key] for key in _RIGHT)]
        for other, cases in zip(letters[1:], record["cases"], strict=True)
        if cases is not None
    ]
    if rights:
        columns = ["images right in", "both", "the first alone", "the second alone", "neither"]
        blocks.append(Table(columns=columns, rows=rights))
    return Section(key="runs", title="What is compared", blocks=blocks)


_RIGHT = ("both", "first", "second", "neither")


def _differences(record: Mapping[str, Any], letters: Sequence[str]) -> Section:
    made = svg(difference_figure(record), "differences", "Paired differences")
    caption = f"Each less {letters[0]}, on the same images, with 95 % intervals."
    rows = []
    for other, table, adjusted in zip(
        letters[1:], record["differences"], record["adjusted"], strict=True
    ):
        for name in record["metrics"]:
            one = table[name]
            rows.append(
                [
                    f"{name.replace('_', ' ')}, {other} - {letters[0]}",
                    _signed(one["value"]),
                    "" if one["interval"] is None else " to ".join(map(_signed, one["interval"])),
                    _p(one["p"]),
                    _p(adjusted[name]),
                ]
            )
    columns = ["", "difference", "95 % interval", "p", "p (Holm)"]
    blocks: list[Block] = [Drawings(items=[(made, caption)]), Table(columns=columns, rows=rows)]
    return Section(key="differences", title="Paired differences", blocks=blocks)


def difference_figure(record: Mapping[str, Any]) -> Figure:
    """The differences to the first with their intervals, a line for each metric.

    What is larger than 1 somewhere, such as a distance in mm, has an axis of its own.
    """
    tables = record["differences"]
    wide = [name for name in record["metrics"] if _largest(tables, name) > 1]
    groups = [[name for name in record["metrics"] if name not in wide], wide]
    groups = [names for names in groups if names]
    made = figure(4.2, sum(1.2 + 0.28 * len(names) * len(tables) for names in groups))
    with settings():
        ratios = [1.2 + 0.28 * len(names) * len(tables) for names in groups]
        grid = made.add_gridspec(len(groups), 1, height_ratios=ratios)
        for place, names in enumerate(groups):
            _draw_differences(axes(made, grid[place]), tables, names, legend=place == 0)
    return made


def _largest(tables: Sequence[Mapping[str, Any]], name: str) -> float:
    """The largest number that is drawn of a metric."""
    found = [[table[name]["value"], *(table[name]["interval"] or ())] for table in tables]
    return max((abs(value) for values in found for value in values if value is not None), default=0)


def _draw_differences(
    plot: Axes, tables: Sequence[Mapping[str, Any]], names: Sequence[str], *, legend: bool
) -> None:
    plot.axvline(0, color=MUTED, linewidth=1, linestyle=":")
    for number, table in enumerate(tables):
        look = {"color": series(number)["color"]}
        for place, name in enumerate(names):
            one, row = table[name], place + 0.7 * number / max(1, len(tables))
            if one["value"] is None:
                continue
            if one["interval"] is not None:
                plot.plot(one["interval"], [row, row], **look)
            label = f"{chr(ord('B') + number)} - A" if place == 0 else None
            plot.plot([one["value"]], [row], "o", label=label, **look)
    plot.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    plot.invert_yaxis()
    plot.set_xlabel("difference")
    if legend and len(tables) > 1:
        plot.legend()


def _metrics(record: Mapping[str, Any], letters: Sequence[str]) -> Section:
    rows = []
    for name, each in record["metrics"].items():
        cells = []
        for one in each:
            spread = interval(one["interval"])
            value = written(one["value"])
            cells.append(f"{value} ({spread})" if spread else value)
        rows.append([name.replace("_", " "), *cells])
    table = Table(columns=["metric", *letters], rows=rows, caption="With 95 % intervals.")
    return Section(key="metrics", title="Metrics", blocks=[table])


def _settings(record: Mapping[str, Any], letters: Sequence[str], shown: Shown) -> Section:
    rows = [
        [path, *values]
        for path, values in record["settings"].items()
        if shown.paths or not _may_name(path, values)
    ]
    blocks: list[Block] = [Table(columns=["setting", *letters], rows=rows)] if rows else []
    left = len(record["settings"]) - len(rows)
    if left:
        blocks.append(Text(text=f"Left out here: {counted(left, 'setting')} that may name files."))
    if not blocks:
        blocks.append(Text(text="No setting differs."))
    return Section(key="settings", title="Settings that differ", blocks=blocks)


def _may_name(path: str, values: Sequence[str]) -> bool:
    return path.startswith("dataset") or any("/" in v or "\\" in v for v in values)


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.4f}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
