"""A result in lines of text: numbers, confusion matrix, table by class, remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.calibration import ENOUGH_CASES
from medpipe.evaluation.class_table import PROPORTIONS
from medpipe.system.text import counted
from medpipe.tasks.tables import titled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_CLASSES = 12
"""Of more classes a confusion matrix is not shown, but the most frequent mistakes are."""
MOST_MISTAKES = 10
MOST_ROWS = 40
LONGEST = 12
"""The letters of a class's name above a column."""


def metric_lines(metrics: Mapping[str, Any], indent: str = "  ") -> list[str]:
    """The numbers among metrics, with their intervals and beside the trivial baseline's.

    Remarks follow, a line each.
    """
    return [*_numbers(metrics, indent), *_remarks(metrics, indent)]


def result_lines(metrics: Mapping[str, Any], indent: str = "  ") -> list[str]:
    """All that is said of a result: what `metric_lines` gives, and tables before the remarks."""
    lines = [*_numbers(metrics, indent)]
    names = list(metrics.get("classes", ()))
    if "confusion" in metrics and metrics["images"]:
        lines += [f"{indent}{line}".rstrip() for line in confusion_lines(metrics, names)]
    if metrics.get("class_table"):
        lines += [f"{indent}{line}".rstrip() for line in class_lines(metrics["class_table"])]
    if metrics.get("name_table"):
        lines += [f"{indent}{line}".rstrip() for line in name_lines(metrics)]
    lines += [f"{indent}{line}" for line in _calibration(metrics)]
    lines += [f"{indent}{line}" for line in _point(metrics.get("operating_point"))]
    group = metrics.get("by_group")
    if group is not None:
        scores = "the highest score" if group["scores"] == "highest" else "the mean of the scores"
        groups = counted(group["images"], "group")
        lines += [f"{indent}by group ({groups}, {scores} of its images):"]
        lines += [*_numbers(group, f"{indent}  ")]
        lines += [f"{indent}  {line}" for line in _point(group.get("operating_point"))]
    return [*lines, *_remarks(metrics, indent)]


def confusion_lines(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The confusion matrix, a row for each true class; of many classes the frequent mistakes."""
    counts: Sequence[Sequence[int]] = metrics["confusion"]
    if len(names) > MOST_CLASSES:
        return _mistakes(counts, names)
    corner = "true \\ predicted"
    heads = [_short(name) for name in names]
    first = max(len(corner), *(len(name) for name in names))
    widths = [
        max(len(head), *(len(f"{row[place]:,}") for row in counts))
        for place, head in enumerate(heads)
    ]
    lines = ["confusion matrix:"]
    lines += [_row(f"  {corner:{first}}", heads, widths)]
    for name, row in zip(names, counts, strict=True):
        lines.append(_row(f"  {name:{first}}", [f"{count:,}" for count in row], widths))
    return lines


def class_lines(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Images and the four proportions of each class or finding, with their 95 % intervals."""
    rows = [["", "images", "predicted", *PROPORTIONS]]
    for name, one in list(table.items())[:MOST_ROWS]:
        cells = [_with_interval(one[key], one["intervals"][key]) for key in PROPORTIONS]
        rows.append([name, f"{one['cases']:,}", f"{one['predicted']:,}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["by class, with 95 % intervals:"]
    lines += [_row(f"  {row[0]:{widths[0]}}", row[1:], widths[1:]) for row in rows]
    return lines + ([f"  and {len(table) - MOST_ROWS} more"] if len(table) > MOST_ROWS else [])


def name_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics of each name with their 95 % intervals, and the worst cases."""
    table, counts = metrics["name_table"], metrics.get("structures", {})
    measures = list(next(iter(table.values()))["intervals"])
    counting = ["cases", "missed"] if counts else []
    absent = any(one["absent"] for one in counts.values())
    heads = [*counting, *(["invented"] if absent else [])]
    rows = [["", *heads, *(titled(name, metrics).replace("_", " ") for name in measures)]]
    for name, one in list(table.items())[:MOST_ROWS]:
        cells = [f"{counts[name][key]:,}" for key in counting]
        if absent:
            cells.append(f"{counts[name]['invented']:,} of {counts[name]['absent']:,}")
        cells += [_with_interval(one[key], one["intervals"][key]) for key in measures]
        rows.append([name, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"by {'structure' if counts else 'name'}, with 95 % intervals:"]
    lines += [_row(f"  {row[0]:{widths[0]}}", row[1:], widths[1:]) for row in rows]
    lines += [f"  and {len(table) - MOST_ROWS} more"] if len(table) > MOST_ROWS else []
    return [*lines, *_worst(metrics.get("worst_cases", ()))]


def _worst(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """The worst cases, a line each."""
    width = max((len(case["id"]) for case in cases), default=0)
    lines = []
    for case in cases:
        line = f"  {case['id']:{width}}  {case['value']:.3f}"
        if len(case["names"]) > 1:
            each = ", ".join(f"{name} {value:.3f}" for name, value in case["names"].items())
            line += f" ({each})"
        lines.append(line)
    return ["worst cases:", *lines] if lines else []


def _numbers(metrics: Mapping[str, Any], indent: str) -> list[str]:
    lines, intervals = [], metrics.get("intervals", {})
    baseline = metrics.get("baseline", {})
    for name, value in metrics.items():
        if isinstance(value, float) or (value is None and name in intervals):
            low, high = intervals.get(name) or (None, None)
            spread = "" if low is None else f" (95 % interval {low:.4f} to {high:.4f})"
            trivial = baseline.get(name)
            beside = "" if trivial is None else f"; one answer for all: {trivial:.4f}"
            shown = "undefined" if value is None else f"{value:.4f}"
            lines.append(f"{indent}{titled(name, metrics):20} {shown}{spread}{beside}")
    return lines


def _remarks(metrics: Mapping[str, Any], indent: str) -> list[str]:
    return [f"{indent}Look at this: {remark}" for remark in metrics.get("remarks", ())]


def _mistakes(counts: Sequence[Sequence[int]], names: Sequence[str]) -> list[str]:
    wrong = [
        (count, names[true], names[said])
        for true, row in enumerate(counts)
        for said, count in enumerate(row)
        if count and true != said
    ]
    if not wrong:
        return []
    wrong.sort(key=lambda one: -one[0])
    lines = [f"most frequent mistakes, of {sum(count for count, _, _ in wrong):,}:"]
    return lines + [
        f"  {count:,} x {true} answered {said}" for count, true, said in wrong[:MOST_MISTAKES]
    ]


def _calibration(metrics: Mapping[str, Any]) -> list[str]:
    before, after = metrics.get("calibration"), metrics.get("calibration_scaled")
    if before is None or before["ece"] is None:
        return []
    line = f"calibration: expected error {before['ece']:.4f}"
    if before["slope"] is not None and before["cases"] >= ENOUGH_CASES:
        line += f", slope {before['slope']:.2f}"
    return [line if after is None else f"{line}; with the temperature {after['ece']:.4f}"]


def _point(point: Mapping[str, Any] | None) -> list[str]:
    if point is None:
        return []
    intervals, more = point["intervals"], point.get("at_prevalence")
    lines = [
        f"operating point, {point['class']} at a probability of {point['threshold']:.4f} "
        f"({point['wanted']} of {point['at_least']:g} on validation):"
    ]
    lines += [f"  {name:20} {_with_interval(point[name], intervals[name])}" for name in PROPORTIONS]
    if more is not None:
        lines += [
            f"  {name:20} {_with_interval(more[name], more['intervals'][name])} at a prevalence "
            f"of {more['prevalence']:g}"
            for name in ("ppv", "npv")
        ]
    return lines


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _row(first: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([first, *columns])
