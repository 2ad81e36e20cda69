"""What a report says of one class, finding or target; what is undefined is None.

scikit-learn and NumPy are imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medpipe.tasks.step import Array


def detection(truth: Array, predicted: Array) -> dict[str, Any]:
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


def ranking(truth: Array, scores: Array) -> dict[str, float | None]:
    """How well one class or finding is ranked before the rest; None where either is absent."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if truth.all() or not truth.any():
        return {"auc": None, "average_precision": None}
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
    }


def errors(labels: Array, scores: Array) -> dict[str, Any]:
    """How far a target's predictions are off; None where there are no labels, or no spread."""
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    some = bool(len(labels))
    varied = some and bool(np.ptp(labels) > 0)
    pair = labels, scores
    return {
        "images": len(labels),
        "mae": finite(mean_absolute_error(*pair)) if some else None,
        "rmse": finite(root_mean_squared_error(*pair)) if some else None,
        "r2": finite(r2_score(*pair, force_finite=False)) if varied else None,
    }


def finite(value: float) -> float | None:
    """The number, or None: JSON knows neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def titled(metric: str, metrics: Mapping[str, Any]) -> str:
    """A metric's name with its unit, if it has one: ``hd95 (mm)``."""
    unit = metrics.get("units", {}).get(metric)
    return f"{metric} ({unit})" if unit else metric
