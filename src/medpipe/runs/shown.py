"""A run as a line of text, and as an HTML table for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.evaluation.rows import metric_rows, remark_rows
from medpipe.runs.spread import Spread
from medpipe.system.html import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
        *(row for split, found in metrics.items() for row in metric_rows(found, split)),
        *(row for found in metrics.values() for row in remark_rows(found)),
    ]
    return table(rows, title=f"Run {path}")


def set_as_html(path: Path, runs: Sequence[tuple[Sequence[str], str, Mapping[str, Any]]]) -> str:
    """The metrics of several runs, a row for each, with mean and standard deviation.

    Args:
        path: The folder of the runs.
        runs: For each its name, fold and seed, its status, and its metrics by split.
    """
    done = [(head, metrics) for head, status, metrics in runs if status == "finished"]
    split = "test" if any("test" in metrics for _, metrics in done) else "validation"
    held = [(head, metrics.get(split, {})) for head, metrics in done]
    first = held[0][1] if held else {}
    names = [name for name, value in first.items() if isinstance(value, float)]
    rows: list[Sequence[object]] = [
        [*head, *(_number(found.get(name)) for name in names)] for head, found in held
    ]
    if len(rows) > 1:
        spreads = [Spread.of(found.get(name) for _, found in held) for name in names]
        rows.append(["mean", "", "", *(_number(one.mean) for one in spreads)])
        deviations = (_number(one.standard_deviation) for one in spreads)
        rows.append(["standard deviation", "", "", *deviations])
    rows += [[*head, status] for head, status, _ in runs if status != "finished"]
    return table(rows, title=f"Runs in {path}, {split}", head=["run", "fold", "seed", *names])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
