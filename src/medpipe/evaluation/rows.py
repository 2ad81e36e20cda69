"""A result as rows of a table: metrics with intervals, and remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.metrics import with_interval
from medpipe.tasks.tables import titled

if TYPE_CHECKING:
    from collections.abc import Mapping


def metric_rows(metrics: Mapping[str, Any], split: str = "") -> list[tuple[str, str]]:
    """Each metric of a split with its interval, and what one answer for all would reach."""
    baseline = metrics.get("baseline", {})
    rows = []
    for name, value in metrics.items():
        if isinstance(value, float) or name in metrics.get("intervals", {}):
            trivial = baseline.get(name)
            beside = "" if trivial is None else f"; one answer for all: {trivial:.4f}"
            rows.append(
                (f"{split} {titled(name, metrics)}".strip(), with_interval(metrics, name) + beside)
            )
    return rows


def remark_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person should look at."""
    return [("look at this", remark) for remark in metrics.get("remarks", ())]
