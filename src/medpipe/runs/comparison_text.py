"""A comparison as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.system.text import aligned, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.runs.comparing import Comparison


def letter(place: int) -> str:
    """What the run of this place is called: A, B, C, ..."""
    return chr(ord("A") + place)


def comparison_lines(comparison: Comparison) -> list[str]:
    """What was compared, the settings that differ, metrics, differences and remarks."""
    letters = [letter(place) for place in range(len(comparison.names))]
    lines = [f"{name}: {path}" for name, path in zip(letters, comparison.names, strict=True)]
    if comparison.settings:
        lines += ["", "Settings that differ:"]
        rows = [["", *letters], *([path, *v] for path, v in comparison.settings.items())]
        lines += _indented(rows)
    lines += [
        "",
        f"{comparison.split} on {counted(comparison.images, 'image')} of "
        f"{counted(comparison.groups, 'group')}, with 95 % intervals:",
    ]
    rows = [["", *letters]]
    for name, each in comparison.metrics.items():
        rows.append([name, *(_value(one["value"], one["interval"]) for one in each)])
    lines += _indented(rows)
    lines += ["", "Differences, of the same resamples of both:"]
    heads = [f"{other} - {letters[0]}" for other in letters[1:]]
    rows = [["", *(cell for head in heads for cell in (head, "p", "p (Holm)"))]]
    for name in comparison.metrics:
        cells = [name]
        for table, adjusted in zip(comparison.differences, comparison.adjusted, strict=True):
            one = table[name]
            cells += [_value(one.value, one.interval, sign="+"), _p(one.p), _p(adjusted[name])]
        rows.append(cells)
    lines += _indented(rows)
    for other, cases in zip(letters[1:], comparison.cases, strict=True):
        if cases is not None:
            lines.append(
                f"Right: both {cases['both']}, {letters[0]} alone {cases['first']}, {other} alone "
                f"{cases['second']}, neither {cases['neither']}."
            )
    return [*lines, *(f"Look at this: {remark}" for remark in comparison.remarks)]


def _indented(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in aligned(rows)]


def _value(value: float | None, interval: Sequence[float] | None, sign: str = "") -> str:
    if value is None:
        return "-"
    spread = "" if interval is None else f" ({interval[0]:{sign}.4f} to {interval[1]:{sign}.4f})"
    return f"{value:{sign}.4f}{spread}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
