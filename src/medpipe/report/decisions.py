"""The sections of decisions: the operating point, and results by group (patient)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.class_table import PROPORTIONS
from medpipe.report.blocks import Block, Section, Table, Text, interval
from medpipe.report.blocks import number as written
from medpipe.report.results import MEASURES, TRIVIAL, metric_rows, numbers_of
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def decisions(metrics: Mapping[str, Any], chosen: Mapping[str, Any] | None) -> Iterator[Section]:
    """What the operating point reaches, and the results by group.

    Args:
        metrics: Of the split.
        chosen: What was chosen on the validation split.
    """
    point = metrics.get("operating_point")
    if point is not None:
        yield Section(key="operating-point", title="Operating point", blocks=_point(point))
    elif chosen and chosen.get("no_operating_point_because"):
        said = f"There is none: {chosen['no_operating_point_because']}."
        yield Section(key="operating-point", title="Operating point", blocks=[Text(text=said)])
    group = metrics.get("by_group")
    if group is None:
        return
    scores = "the highest of its images" if group["scores"] == "highest" else "their mean"
    said = (
        f"{counted(group['images'], 'group')}, each of which counts once; its scores are {scores}."
    )
    if group["left_out"]:
        said += f" {counted(group['left_out'], 'group')} without one label left out."
    columns = ["metric", "by group", "95 % interval", TRIVIAL]
    names = numbers_of(group)
    blocks: list[Block] = [Text(text=said), Table(columns=columns, rows=metric_rows(group, names))]
    if group.get("operating_point") is not None:
        blocks += _point(group["operating_point"])
    yield Section(key="by-group", title="By patient or other group", blocks=blocks)


def _point(point: Mapping[str, Any]) -> list[Block]:
    """What is reached at a threshold."""
    validation = point["validation"]
    text = (
        f"{point['class']} counts as found from a probability of {point['threshold']:.4f} on: "
        f"chosen on the validation split for a {point['wanted']} of {point['at_least']:g}, and "
        f"kept. Found here: {point['predicted']:,}; there: {point['cases']:,}."
    )
    rows = [
        [
            MEASURES[name],
            written(point[name]),
            interval(point["intervals"][name]),
            written(validation[name]) if name in validation else "",
        ]
        for name in PROPORTIONS
    ]
    more = point.get("at_prevalence")
    if more is not None:
        rows += [
            [
                f"{MEASURES[name]} at a prevalence of {more['prevalence']:g}",
                written(more[name]),
                interval(more["intervals"][name]),
                "",
            ]
            for name in ("ppv", "npv")
        ]
    columns = ["", "value", "95 % interval", "validation"]
    return [Text(text=text), Table(columns=columns, rows=rows)]
