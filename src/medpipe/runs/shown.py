"""A run as a line of text, and as an HTML table for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.metrics import with_interval
from medpipe.system.html import table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHOWN = 4
"""Metrics in the line."""


def in_short(path: Path, record: Mapping[str, Any]) -> str:
    """A run's folder, status and first metrics.

    Args:
        path: The run directory.
        record: The content of ``run.json``.
    """
    metrics = record["metrics"]
    found = metrics.get("test", metrics.get("validation", {}))
    numbers = [f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, float)]
    return f"Run({', '.join([repr(str(path)), record['status'], *numbers[:SHOWN]])})"


def as_html(path: Path, record: Mapping[str, Any]) -> str:
    """A run's status, data and metrics with intervals and remarks; arguments as `in_short`."""
    metrics = record["metrics"]
    rows = [
        ("status", record["status"]),
        ("samples", ", ".join(f"{n:,} {name}" for name, n in record["data"]["splits"].items())),
        ("best epoch", record["best_epoch"]),
        ("device", f"{record['device']}, {record['precision']}"),
        *(
            (f"{split} {name}", with_interval(found, name))
            for split, found in metrics.items()
            for name, value in found.items()
            if isinstance(value, float) or name in found.get("intervals", {})
        ),
        *(
            ("look at this", remark)
            for found in metrics.values()
            for remark in found.get("remarks", ())
        ),
    ]
    return table(rows, title=f"Run {path}")
