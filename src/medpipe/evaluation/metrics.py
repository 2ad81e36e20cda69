"""Metrics from predictions, computed by scikit-learn; what is undefined is None.

scikit-learn and NumPy are imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from medpipe.evaluation.intervals import intervals_of
from medpipe.evaluation.subgroups import by_value, group_count, subgroup_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medpipe.evaluation.predictions import Array, Predictions
    from medpipe.steps import Task, TaskKind

Mode = Literal["max", "min"]

MONITORS: Mapping[TaskKind, Mapping[str, Mode]] = {
    "multiclass": {
        "accuracy": "max",
        "balanced_accuracy": "max",
        "f1": "max",
        "auc": "max",
        "average_precision": "max",
        "loss": "min",
    },
    "multilabel": {"auc": "max", "average_precision": "max", "f1": "max", "loss": "min"},
    "regression": {"mae": "min", "rmse": "min", "r2": "max", "loss": "min"},
}
"""What ``trainer.monitor`` may be for each task, and whether more or less of it is better."""


def default_monitor(task: Task) -> str:
    """The metric that decides which network is the best, unless the trainer names one."""
    return {"multiclass": "accuracy", "multilabel": "auc", "regression": "mae"}[task.kind]


def is_better(monitor_mode: Mode, new: float | None, best: float | None) -> bool:
    """Whether a metric beats the best so far; an undefined one (None, NaN) never does."""
    if new is None or math.isnan(new):
        return False
    if best is None or math.isnan(best):
        return True
    return new > best if monitor_mode == "max" else new < best


def compute_metrics(
    predictions: Predictions, *, intervals: bool = False, subgroups: bool = False
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

    Args:
        predictions: Of one split.
        intervals: Also give 95 % intervals; see `medpipe.evaluation.intervals.intervals_of`.
        subgroups: Also give the metrics of the samples that share a value of a kept column, for
            each column of 2 to 20 different values.

    Returns:
        Plain data for JSON: ``images``, their number, and the above. With `intervals`, a table
        ``intervals`` of [low, high] or None by metric, and ``interval_method``. With `subgroups`,
        where there are any, a table by column and value under ``subgroups``: ``images``,
        ``groups``, the numbers above (not the tables), and ``intervals``.
    """
    # Sums in one order, so that the last digit does not depend on it either.
    predictions = predictions.sorted_by_id()
    compute = {
        "multiclass": _multiclass,
        "multilabel": _multilabel,
        "regression": _regression,
    }[predictions.task.kind]
    metrics = {"images": len(predictions), **compute(predictions)}
    if intervals:
        metrics["intervals"], metrics["interval_method"] = intervals_of(predictions, metrics)
    if subgroups:
        names = [name for name in MONITORS[predictions.task.kind] if name != "loss"]
        tables = {
            column: {
                value: _subgroup(some, names, intervals=intervals)
                for value, some in by_value(predictions, column).items()
            }
            for column in subgroup_columns(predictions)
        }
        if tables:
            metrics["subgroups"] = tables
    return metrics


def metric_lines(metrics: Mapping[str, Any], indent: str = "  ") -> list[str]:
    """The numbers among metrics with their intervals, a line for each, for people."""
    lines, intervals = [], metrics.get("intervals", {})
    for name, value in metrics.items():
        if isinstance(value, float):
            low, high = intervals.get(name) or (None, None)
            spread = "" if low is None else f" (95 % interval {low:.4f} to {high:.4f})"
            lines.append(f"{indent}{name:20} {value:.4f}{spread}")
    return lines


def _multiclass(predictions: Predictions) -> dict[str, Any]:
    import numpy as np

    truth, predicted = predictions.labels, predictions.predicted
    classes = {
        name: {
            **_detection(truth == place, predicted == place),
            **_ranking(truth == place, predictions.scores[:, place]),
        }
        for place, name in enumerate(predictions.task.names)
    }
    count = len(classes)
    confusion = np.bincount(truth * count + predicted, minlength=count * count)
    return {
        "accuracy": float((truth == predicted).mean()) if len(truth) else None,
        "balanced_accuracy": _mean(table["recall"] for table in classes.values()),
        "f1": _mean(table["f1"] for table in classes.values()),
        "auc": _mean_of_all(table["auc"] for table in classes.values()),
        "average_precision": _mean_of_all(t["average_precision"] for t in classes.values()),
        "classes": classes,
        "confusion": confusion.reshape(count, count).tolist(),
    }


def _multilabel(predictions: Predictions) -> dict[str, Any]:
    import numpy as np

    findings: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(predictions.task.names):
        known = ~np.isnan(predictions.labels[:, place])
        truth = predictions.labels[known, place] == 1
        scores = predictions.scores[known, place]
        table = _detection(truth, predictions.predicted[known, place])
        findings[name] = {
            **table,
            "images": len(truth),
            "positives": table["images"],
            **_ranking(truth, scores),
        }
    names = ("auc", "average_precision", "f1")
    means = {name: _mean(table[name] for table in findings.values()) for name in names}
    return {**means, "findings": findings}


def _regression(predictions: Predictions) -> dict[str, Any]:
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    targets: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(predictions.task.names):
        known = ~np.isnan(predictions.labels[:, place])
        pair = predictions.labels[known, place], predictions.scores[known, place]
        some = bool(known.any())
        varied = some and bool(np.ptp(pair[0]) > 0)
        targets[name] = {
            "images": int(known.sum()),
            "mae": _finite(mean_absolute_error(*pair)) if some else None,
            "rmse": _finite(root_mean_squared_error(*pair)) if some else None,
            "r2": _finite(r2_score(*pair, force_finite=False)) if varied else None,
        }
    names = ("mae", "rmse", "r2")
    means = {name: _mean(table[name] for table in targets.values()) for name in names}
    return {**means, "unit": predictions.task.unit, "targets": targets}


def _detection(truth: Array, predicted: Array) -> dict[str, Any]:
    """How well one class or finding is found; None where there is nothing to divide by."""
    hits = int((truth & predicted).sum())
    positives, guesses = int(truth.sum()), int(predicted.sum())
    negatives, wrong = len(truth) - positives, guesses - hits
    return {
        "images": positives,
        "recall": hits / positives if positives else None,
        "specificity": 1 - wrong / negatives if negatives else None,
        "precision": hits / guesses if guesses else None,
        "f1": 2 * hits / (positives + guesses) if positives or guesses else None,
    }


def _ranking(truth: Array, scores: Array) -> dict[str, float | None]:
    """How well one class or finding is ranked before the rest; None where either is absent."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if truth.all() or not truth.any():
        return {"auc": None, "average_precision": None}
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
    }


def _subgroup(predictions: Predictions, names: Iterable[str], *, intervals: bool) -> dict[str, Any]:
    metrics = compute_metrics(predictions, intervals=intervals)
    table = {"images": len(predictions), "groups": group_count(predictions)}
    table.update((name, metrics[name]) for name in names)
    return {**table, "intervals": metrics["intervals"]} if intervals else table


def _mean_of_all(values: Iterable[float | None]) -> float | None:
    """The mean; None where one of them is undefined."""
    some = list(values)
    return None if None in some else _mean(some)


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return _finite(math.fsum(defined) / len(defined)) if defined else None


def _finite(value: float) -> float | None:
    """The number, or None: JSON knows neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None
