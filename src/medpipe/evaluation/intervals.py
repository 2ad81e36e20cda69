"""95 % intervals: how far a metric may lie from its value on other samples of the same kind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, Any]

RESAMPLES = 1000
INTERVAL_METHOD = (
    "95 %; accuracy: Wilson's score interval where every group has one sample; everything else: "
    f"percentiles of {RESAMPLES} bootstrap resamples of whole groups"
)


def interval_of(predictions: Predictions) -> dict[str, list[float]]:
    """The intervals of the metrics that are means over samples or classes.

    Groups (patients) are drawn whole, since their samples are not independent.

    Returns:
        [low, high] by metric: for ``multiclass`` accuracy and balanced accuracy, for
        ``regression`` mae and rmse, for ``multilabel`` none yet.
    """
    if predictions.task.kind == "multiclass":
        return _multiclass(predictions)
    return _regression(predictions) if predictions.task.kind == "regression" else {}


def _multiclass(predictions: Predictions) -> dict[str, list[float]]:
    import numpy as np

    right = predictions.labels == predictions.predicted
    classes = len(predictions.task.names)
    one_hot = np.eye(classes)[predictions.labels]
    # Columns: how many of each class are right, then how many there are.
    sums = _resampled(np.hstack([one_hot * right[:, None], one_hot]), predictions)
    hits, counts = sums[:, :classes], sums[:, classes:]
    with np.errstate(invalid="ignore"):
        recalls = hits / counts
    found = {
        "accuracy": _percentiles(hits.sum(axis=1) / counts.sum(axis=1)),
        "balanced_accuracy": _percentiles(np.nanmean(recalls, axis=1)),
    }
    if not _grouped(predictions):
        found["accuracy"] = _wilson(int(right.sum()), len(right))
    return found


def _regression(predictions: Predictions) -> dict[str, list[float]]:
    import numpy as np

    known = ~np.isnan(predictions.labels)
    error = np.where(known, predictions.scores - predictions.labels, 0.0)
    outputs = error.shape[1]
    columns = np.hstack([np.abs(error), error**2, known.astype(float)])
    sums = _resampled(columns, predictions)
    counts = np.maximum(sums[:, 2 * outputs :], 1)
    return {
        "mae": _percentiles((sums[:, :outputs] / counts).mean(axis=1)),
        "rmse": _percentiles(
            np.sqrt(sums[:, outputs : 2 * outputs] / counts).mean(axis=1),
        ),
    }


def _group_places(predictions: Predictions) -> list[int]:
    """For each sample the place of its group; a sample without one is a group of its own."""
    places: dict[tuple[bool, str], int] = {}
    keys = [
        (group is not None, group if group is not None else id_)
        for id_, group in zip(predictions.ids, predictions.groups, strict=True)
    ]
    # Sorted, so that the resamples don't depend on the samples' order.
    for key in sorted(set(keys)):
        places[key] = len(places)
    return [places[key] for key in keys]


def _grouped(predictions: Predictions) -> bool:
    return max(Counter(_group_places(predictions)).values()) > 1


def _resampled(columns: Array, predictions: Predictions) -> Array:
    """Sums of each column over bootstrap resamples of groups: (resamples, columns)."""
    import numpy as np

    places = np.array(_group_places(predictions))
    groups = int(places.max()) + 1
    sums = np.zeros((groups, columns.shape[1]))
    np.add.at(sums, places, columns)
    generator = np.random.Generator(np.random.PCG64(0))
    results = [
        np.bincount(generator.integers(0, groups, groups), minlength=groups) @ sums
        for _ in range(RESAMPLES)
    ]
    return np.stack(results)


def _percentiles(values: Array) -> list[float]:
    import numpy as np

    return [float(value) for value in np.percentile(values, [2.5, 97.5])]


def _wilson(right: int, count: int) -> list[float]:
    from scipy.stats import binomtest

    interval = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]
