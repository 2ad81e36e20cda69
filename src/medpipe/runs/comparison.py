"""`Comparison`: runs beside each other, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.system import files
from medpipe.system.text import aligned, counted

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from medpipe.evaluation.comparison import Difference

__all__ = ["Comparison"]


@attrs.frozen(kw_only=True)
class Comparison:
    """Runs or sets of runs beside each other, each with its differences to the first.

    Attributes:
        names: The folders of what was compared.
        split: On what: ``test``, ``validation`` or, of evaluations, ``external data``.
        images: On how many samples.
        groups: In how many groups (patients).
        settings: The settings that differ, by path: each value in words, in the order of `names`.
        metrics: By metric, for each of `names` what `compute_metrics` gives: ``value`` and
            ``interval``, [low, high] or None.
        differences: For each of `names` but the first the differences to the first, by metric.
        adjusted: Their p-values after Holm's correction for all of them, in the same form; None
            where there is none.
        cases: For each of `names` but the first, where labels are classes: how many samples
            ``both`` have right, ``first`` alone, ``second`` alone and ``neither``. Otherwise None.
        remarks: Sentences on what the differences are worth.
    """

    names: tuple[str, ...]
    split: str
    images: int
    groups: int
    settings: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, tuple[Mapping[str, Any], ...]] = attrs.field(repr=False)
    differences: tuple[Mapping[str, Difference], ...] = attrs.field(repr=False)
    adjusted: tuple[Mapping[str, float | None], ...] = attrs.field(repr=False)
    cases: tuple[Mapping[str, int] | None, ...] = attrs.field(repr=False)
    remarks: tuple[str, ...] = attrs.field(repr=False)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def record(self) -> dict[str, Any]:
        """The comparison as plain data for JSON."""
        return {"format": 1, **attrs.asdict(self)}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write `record` to a file; an older one is replaced.

        Raises:
            RunError: It can't be written.
        """
        files.write_json(Path(path), self.record())

    def report(self, path: str | os.PathLike[str], *, paths: bool = True) -> None:
        """Write the comparison as one HTML file that needs no network.

        Args:
            path: The file; an older one is replaced.
            paths: Whether it may name the runs' folders and settings that may hold paths.

        Raises:
            RunError: It can't be written.
        """
        from medpipe.report.blocks import Shown
        from medpipe.report.comparison_page import comparison_page

        files.write_text(Path(path), comparison_page(self.record(), Shown(paths=paths)))


def letter(place: int) -> str:
    """What the run of this place is called: A, B, C, ..."""
    return chr(ord("A") + place)


def _lines(comparison: Comparison) -> list[str]:
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
    lines += ["", "Differences, paired by sample, with 95 % intervals:"]
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
