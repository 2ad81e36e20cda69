"""A result as rows of a table: metrics with intervals, and remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.metrics import with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping


def metric_rows(metrics: Mapping[str, Any], split: str = "") -> list[tuple[str, str]]:
    """Each metric of a split with its interval, such as ``0.9300 (0.9100 to 0.9500)``."""
    return [
        (f"{split} {name}".strip(), with_interval(metrics, name))
        for name, value in metrics.items()
        if isinstance(value, float) or name in metrics.get("intervals", {})
    ]


def remark_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person should look at."""
    return [("look at this", remark) for remark in metrics.get("remarks", ())]
