"""Metrics from predictions, computed by scikit-learn; what is undefined is None.

scikit-learn and NumPy are imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from medpipe.evaluation.intervals import INTERVAL_METHOD, interval_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.evaluation.predictions import Predictions
    from medpipe.steps import Task, TaskKind

Mode = Literal["max", "min"]

MONITORS: Mapping[TaskKind, Mapping[str, Mode]] = {
    "multiclass": {
        "accuracy": "max",
        "balanced_accuracy": "max",
        "f1": "max",
        "auc": "max",
        "loss": "min",
    },
    "multilabel": {"auc": "max", "average_precision": "max", "f1": "max", "loss": "min"},
    "regression": {"mae": "min", "rmse": "min", "r2": "max", "loss": "min"},
}
"""What ``trainer.monitor`` may be for each task, and whether more or less of it is better."""


def default_monitor(task: Task) -> str:
    """The metric that decides which network is the best, unless the trainer names one."""
    return {"multiclass": "accuracy", "multilabel": "auc", "regression": "mae"}[task.kind]


def is_better(mode: Mode, new: float | None, best: float | None) -> bool:
    """Whether a metric beats the best so far; an undefined one beats only nothing at all."""
    if new is None or math.isnan(new):
        return False
    return best is None or (new > best if mode == "max" else new < best)


def compute_metrics(predictions: Predictions, *, intervals: bool = False) -> dict[str, Any]:
    """Compute the metrics of a task.

    Args:
        predictions: Of one part.
        intervals: Also give 95 % intervals, which takes longer.

    Returns:
        Plain data: ``images``, the metrics that `MONITORS` names except the loss, and a table
        for each class, finding or target. Missing labels are left out. With `intervals`, a table
        ``intervals`` of [low, high] by metric, and ``interval_method``.
    """
    compute = {
        "multiclass": _multiclass,
        "multilabel": _multilabel,
        "regression": _regression,
    }[predictions.task.kind]
    metrics = {"images": len(predictions.ids), **compute(predictions)}
    if intervals:
        metrics["intervals"] = interval_of(predictions)
        metrics["interval_method"] = INTERVAL_METHOD
    return metrics


def _multiclass(predictions: Predictions) -> dict[str, Any]:
    from sklearn import metrics

    names = predictions.task.names
    truth, guess = predictions.labels, predictions.predicted
    places = list(range(len(names)))
    precision, recall, f1, counts = metrics.precision_recall_fscore_support(
        truth, guess, labels=places, zero_division=0.0
    )
    aucs = [_auc(truth == place, predictions.scores[:, place]) for place in places]
    present = [place for place in places if counts[place]]
    return {
        "accuracy": float((truth == guess).mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "f1": float(f1[present].mean()),
        "auc": None if None in aucs else sum(auc for auc in aucs if auc is not None) / len(aucs),
        "classes": {
            name: {
                "images": int(counts[place]),
                "recall": float(recall[place]) if counts[place] else None,
                "precision": float(precision[place]),
                "f1": float(f1[place]),
                "auc": aucs[place],
            }
            for place, name in enumerate(names)
        },
        "confusion": metrics.confusion_matrix(truth, guess, labels=places).tolist(),
    }


def _multilabel(predictions: Predictions) -> dict[str, Any]:
    import numpy as np
    from sklearn import metrics

    findings: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(predictions.task.names):
        known = ~np.isnan(predictions.labels[:, place])
        truth = predictions.labels[known, place] == 1
        scores = predictions.scores[known, place]
        both = truth.any() and not truth.all()
        findings[name] = {
            "images": int(known.sum()),
            "positive": int(truth.sum()),
            "auc": _auc(truth, scores),
            "average_precision": (
                float(metrics.average_precision_score(truth, scores)) if both else None
            ),
            "f1": float(metrics.f1_score(truth, scores >= 0.5)) if truth.any() else None,
        }
    means = {key: _mean(f[key] for f in findings.values()) for key in _FINDING_METRICS}
    return {**means, "findings": findings}


_FINDING_METRICS = ("auc", "average_precision", "f1")


def _regression(predictions: Predictions) -> dict[str, Any]:
    import numpy as np
    from sklearn import metrics

    targets: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(predictions.task.names):
        known = ~np.isnan(predictions.labels[:, place])
        truth, values = predictions.labels[known, place], predictions.scores[known, place]
        some = bool(known.any())
        varied = some and float(np.ptp(truth)) > 0
        targets[name] = {
            "images": int(known.sum()),
            "unit": predictions.task.unit,
            "mae": float(metrics.mean_absolute_error(truth, values)) if some else None,
            "rmse": float(metrics.root_mean_squared_error(truth, values)) if some else None,
            "r2": float(metrics.r2_score(truth, values)) if varied else None,
        }
    means = {key: _mean(t[key] for t in targets.values()) for key in ("mae", "rmse", "r2")}
    return {**means, "targets": targets}


def _auc(truth: Any, scores: Any) -> float | None:
    from sklearn import metrics

    if truth.all() or not truth.any():
        return None
    return float(metrics.roc_auc_score(truth, scores))


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
