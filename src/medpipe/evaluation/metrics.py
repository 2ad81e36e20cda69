"""Metrics from predictions, with intervals and for subgroups; what is undefined is None.

NumPy is imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from medpipe.errors import ConfigError, Problem
from medpipe.evaluation.baseline import constant_answer
from medpipe.evaluation.calibration import calibration
from medpipe.evaluation.class_table import class_table
from medpipe.evaluation.intervals import intervals_of
from medpipe.evaluation.measured import measure
from medpipe.evaluation.name_table import name_table, worst_cases
from medpipe.evaluation.remarks import general_remarks
from medpipe.evaluation.subgroups import by_value, group_count, subgroup_columns
from medpipe.registry.class_values import class_value_problems
from medpipe.registry.parameters import StepReference
from medpipe.registry.registry import Registry
from medpipe.steps import MetricStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from medpipe.evaluation.predictions import Predictions
    from medpipe.steps import Task

Mode = Literal["max", "min"]

LOSS = "loss"
"""What the loss is called among the metrics: what may always be monitored."""


def metrics_of(
    task: Task,
    more: Sequence[MetricStep | str | StepReference] = (),
    *,
    registry: Registry | None = None,
) -> dict[str, MetricStep]:
    """The metrics of a task by name: its own, then those of a configuration.

    Args:
        task: The task.
        more: Those of the configuration, as steps, names, or names with parameters; one of a name
            that the task has takes its place.
        registry: Where the task's own are looked up; by default every installed plugin.

    Raises:
        UnknownStepError: A metric is not there.
        ConfigError: The parameters of a named one are wrong, or what one says of itself, such as
            its direction.
    """
    registry = Registry.discover() if registry is None else registry
    steps = [_created(metric, registry) for metric in (*task.step.metrics, *more)]
    problems = [
        Problem(path="", message=f"{registry.title(step)} {problem}.")
        for step in steps
        for problem in class_value_problems(type(step), step)
    ]
    if problems:
        raise ConfigError("Metrics can't be used", problems)
    return {step.name: step for step in steps}


def _created(metric: MetricStep | str | StepReference, registry: Registry) -> MetricStep:
    if isinstance(metric, str):
        return registry.create(MetricStep, metric)
    if isinstance(metric, StepReference):
        return registry.create(MetricStep, metric.name, metric.parameters)
    return metric


def mode_of(monitor: str, metrics: Mapping[str, MetricStep]) -> Mode:
    """Whether more or less of a monitored metric is better."""
    return "min" if monitor == LOSS else metrics[monitor].direction


def is_better(monitor_mode: Mode, new: float | None, best: float | None) -> bool:
    """Whether a metric beats the best so far; an undefined one (None, NaN) never does."""
    if new is None or math.isnan(new):
        return False
    if best is None or math.isnan(best):
        return True
    return new > best if monitor_mode == "max" else new < best


def compute_metrics(
    predictions: Predictions,
    *,
    metrics: Sequence[MetricStep | str | StepReference] = (),
    registry: Registry | None = None,
    intervals: bool = False,
    subgroups: bool = False,
    folds: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Compute the metrics of a task; the order of the samples changes nothing.

    - ``multiclass``: ``accuracy``; ``balanced_accuracy``, the mean recall of the classes that
      occur; ``f1``, the mean over the classes that occur or are predicted; ``auc`` and
      ``average_precision``, means of each class against the rest, None where a class is absent;
      ``confusion``, counts with a row for each true class; ``classes``, a table for each class
      against the rest (``recall`` is its sensitivity).
    - ``multilabel``: ``auc`` and ``average_precision``, means over the findings that have both
      values; ``f1`` at a probability of 0.5, the mean over the findings that occur or are
      predicted; ``findings``, a table for each finding. Missing labels are left out.
    - ``regression``: ``mae``, ``rmse`` and ``r2``, means over the targets; ``unit``; ``targets``,
      a table for each target. Missing labels are left out.
    - ``segmentation``: ``dice``, ``nsd``, ``hd95`` and ``volume_error``, means over the structures;
      ``structures``, what is counted of each; ``unit``, what lengths are counted in. With
      `intervals` also ``name_table``, the metrics of each structure, and ``worst_cases``.

    Args:
        predictions: Of one split.
        metrics: More than those of the task: names, `medpipe.step` with parameters, or step
            objects.
        registry: Where the task's metrics are looked up; by default every installed plugin.
        intervals: Also give 95 % intervals; see `medpipe.evaluation.intervals.intervals_of`.
        subgroups: Also give the metrics of the samples that share a value of a kept column, for
            each column of 2 to 20 different values.
        folds: The fold of each sample by id, where networks of several folds predicted them: what
            ranks scores is then the mean of the folds, since scores of different networks do not
            compare.

    Returns:
        Plain data for JSON: ``images``, their number, the above, and ``units``, the unit of each
        metric that has one. With `intervals`, a table
        ``intervals`` of [low, high] or None by metric, ``interval_method`` and, where there are
        any, ``remarks``: sentences on metrics that a constant answer has too. With `subgroups`,
        where there are any, a table by column and value under ``subgroups``: ``images``,
        ``groups``, the numbers above (not the tables), and ``intervals``.

    Raises:
        StepError: A metric failed, or gave something else than numbers; it is named.
        UnknownStepError: There is no metric of that name.
        ConfigError: The parameters of a named metric are wrong.
    """
    registry = Registry.discover() if registry is None else registry
    steps = metrics_of(predictions.task, metrics, registry=registry)

    def compute(some: Predictions) -> dict[str, Any]:
        return _computed(some, steps, registry, intervals=intervals, folds=folds)

    # Sums in one order, so that the last digit does not depend on it either.
    predictions = predictions.sorted_by_id()
    found = compute(predictions)
    if intervals:
        more = {
            "class_table": class_table(predictions),
            "name_table": name_table(predictions, steps, registry),
            "worst_cases": worst_cases(predictions, steps),
            "calibration": calibration(predictions),
        }
        found.update((name, table) for name, table in more.items() if table)
        constant = constant_answer(predictions)
        if constant is not None:
            own = {name: steps[name] for name in metrics_of(predictions.task, registry=registry)}
            trivial = _computed(constant, own, registry, intervals=False, folds=None)
            found["baseline"] = {name: trivial[name] for name in own}
    if subgroups:
        tables = {
            column: {
                value: _subgroup(some, compute(some), steps)
                for value, some in by_value(predictions, column).items()
            }
            for column in subgroup_columns(predictions)
        }
        if tables:
            found["subgroups"] = tables
    if not intervals:
        return found
    remarks = list(predictions.task.step.remarks(found, predictions.task.names))
    remarks += general_remarks(predictions, found, steps)
    return {**found, "remarks": remarks} if remarks else found


def with_interval(metrics: Mapping[str, Any], name: str) -> str:
    """A metric in words, with its interval: ``0.9300 (0.9100 to 0.9500)``."""
    value = metrics.get(name)
    if value is None:
        return "undefined"
    low, high = metrics.get("intervals", {}).get(name) or (None, None)
    return f"{value:.4f}" + ("" if low is None else f" ({low:.4f} to {high:.4f})")


def _computed(
    predictions: Predictions,
    steps: Mapping[str, MetricStep],
    registry: Registry,
    *,
    intervals: bool,
    folds: Mapping[str, int] | None,
) -> dict[str, Any]:
    tables = predictions.tables()
    measured = {
        name: measure(step, predictions, tables, registry=registry, folds=folds)
        for name, step in steps.items()
    }
    values = {name: one.value for name, one in measured.items()}
    metrics = {"images": len(predictions), **values, **tables}
    units = {name: unit for name, step in steps.items() if (unit := _unit(step, predictions))}
    if units:
        metrics["units"] = units
    if intervals:
        metrics["intervals"], metrics["interval_method"] = intervals_of(predictions, measured)
    return metrics


def _unit(step: MetricStep, predictions: Predictions) -> str | None:
    return predictions.unit if step.unit in ("target", "length") else step.unit


def _subgroup(
    predictions: Predictions, metrics: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Any]:
    table = {"images": len(predictions), "groups": group_count(predictions)}
    table.update((name, metrics[name]) for name in names)
    return {**table, "intervals": metrics["intervals"]} if "intervals" in metrics else table
