"""Metrics of each of a task's names alone, and the cases that do worst.

NumPy is imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medpipe.evaluation.intervals import intervals_of
from medpipe.evaluation.mask_measures import scores_for
from medpipe.evaluation.measured import Measured
from medpipe.registry.failures import failures_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.evaluation.predictions import Predictions
    from medpipe.registry.registry import Registry
    from medpipe.steps import MetricStep

WORST = 5
"""How many of the worst cases are named."""


def name_table(
    predictions: Predictions, steps: Mapping[str, MetricStep], registry: Registry
) -> dict[str, dict[str, Any]]:
    """Give each metric of one name after the other.

    Args:
        predictions: Sorted by id.
        steps: The metrics by name; those that are not `MetricStep.by_name` are left out.
        registry: Names a metric's plugin in errors.

    Returns:
        Plain data by the task's names, empty without such metrics: the metrics by name, None where
        undefined, and ``intervals``, [low, high] or None for each of them.

    Raises:
        StepError: A metric failed.
    """
    some = {name: step for name, step in steps.items() if step.by_name}
    task, names = predictions.task, predictions.task.names
    if not some or not len(predictions):
        return {}
    measured: dict[tuple[int, str], Measured] = {}
    for metric, step in some.items():
        with failures_named(registry.title(step)):
            rows = step.rows(scores_for(step, predictions), predictions.labels, task)
            for place in range(len(names)):
                column = rows[:, [place]]
                measured[place, metric] = Measured(
                    value=step.value(column, task, {}),
                    statistic=step.statistic(column, task),
                    interval=step.interval,
                    proportions=step.proportions(column, task)
                    if step.interval == "wilson"
                    else None,
                )
    by_text = {f"{place} {metric}": one for (place, metric), one in measured.items()}
    intervals, _ = intervals_of(predictions, by_text)
    return {
        name: {
            **{metric: measured[place, metric].value for metric in some},
            "intervals": {metric: intervals[f"{place} {metric}"] for metric in some},
        }
        for place, name in enumerate(names)
    }


def worst_cases(predictions: Predictions, steps: Mapping[str, MetricStep]) -> list[dict[str, Any]]:
    """The first of `case_values`."""
    return case_values(predictions, steps)[:WORST]


def case_values(predictions: Predictions, steps: Mapping[str, MetricStep]) -> list[dict[str, Any]]:
    """Rank cases by the task's monitor, the mean over what a case has.

    Args:
        predictions: Sorted by id.
        steps: The metrics by name.

    Returns:
        Plain data, the worst first: ``id``, ``value``, and ``names``, the value of each name that
        the case has. Empty where the monitor is not `MetricStep.by_name`.
    """
    import numpy as np

    task = predictions.task
    step = steps.get(task.step.monitor)
    if step is None or not step.by_name:
        return []
    found: list[dict[str, Any]] = []
    rows = step.rows(scores_for(step, predictions), predictions.labels, task)
    for id_, row in zip(predictions.ids, rows, strict=True):
        there = np.isfinite(row)
        if there.any():
            values = {task.names[place]: float(row[place]) for place in np.flatnonzero(there)}
            mean = math.fsum(values.values()) / len(values)
            found.append({"id": id_, "value": mean, "names": values})
    sign = -1 if step.direction == "min" else 1
    return sorted(found, key=lambda one: (sign * one["value"], one["id"]))
