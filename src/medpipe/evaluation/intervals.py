"""95 % confidence intervals of metrics.

A bootstrap resample is a weight for each sample, how often it was drawn, so every metric is
computed for many resamples at once, as sums of weights (an AUC by ranks).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

RESAMPLES = 1000
_NUMBERS_AT_ONCE = 200_000  # 1.6 MB of weights, which stay in a CPU cache

Statistics = Callable[["Array"], dict[str, "Array"]]
"""From weights of shape (samples, resamples) to each metric's values; NaN where undefined."""


def intervals_of(
    predictions: Predictions, metrics: Mapping[str, Any]
) -> tuple[dict[str, list[float] | None], str]:
    """Give the 95 % interval of each metric, and how they were made.

    Groups (patients) are drawn whole, since their samples are not independent. An interval is
    widened to hold the metric's value where resampling is biased. It is None where the metric is
    undefined, where it is undefined in more than half of the resamples, and where all of them
    agree, as for an AUC of exactly 1: then the bootstrap says nothing about the uncertainty.

    The interval of the accuracy is Wilson's where each group has one sample. Where groups have
    several but all samples are right (or all wrong) it is Wilson's too, with a group counted as
    one sample.

    Args:
        predictions: Sorted by id, so that the resamples don't depend on the samples' order.
        metrics: The values on these predictions.

    Returns:
        [low, high] or None by metric, and the method in words.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    places = _group_places(predictions)
    groups = int(places.max(initial=-1)) + 1
    statistics = _STATISTICS[predictions.task.kind](predictions)
    # The products are small: on cores that others use too, threads that wait for each other made
    # this thirty times slower.
    with threadpool_limits(limits=1, user_api="blas"):
        chunks = [statistics(weights) for weights in _resamples(places, groups)]
    found: dict[str, list[float] | None] = {}
    for name in chunks[0] if chunks else ():
        values = np.concatenate([chunk[name] for chunk in chunks])
        found[name] = _percentiles(values, metrics[name])
    bootstrap = f"percentiles of {RESAMPLES} bootstrap resamples of {groups} "
    bootstrap += "samples" if groups == len(predictions) else "groups"
    if predictions.task.kind != "multiclass" or not groups:
        return found, f"95 %, {bootstrap}"
    right = int((predictions.labels == predictions.predicted).sum())
    if groups == len(predictions) or right in (0, len(predictions)):
        found["accuracy"] = _wilson(groups if right == len(predictions) else right, groups)
        return found, f"95 %, accuracy: Wilson's with {groups} trials; others: {bootstrap}"
    return found, f"95 %, {bootstrap}"


def _group_places(predictions: Predictions) -> Array:
    """For each sample the place of its group; a sample without one is a group of its own."""
    import numpy as np

    keys = [
        (group is not None, id_ if group is None else group)
        for id_, group in zip(predictions.ids, predictions.groups, strict=True)
    ]
    # Sorted, so that the names of groups alone decide which are drawn together.
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([places[key] for key in keys], dtype=np.int64)


def _resamples(places: Array, groups: int) -> Iterator[Array]:
    """Weights of shape (samples, resamples), in chunks that make up `RESAMPLES`."""
    import numpy as np

    if groups == 0:
        return
    generator = np.random.Generator(np.random.PCG64(0))
    most = max(1, _NUMBERS_AT_ONCE // len(places))
    for start in range(0, RESAMPLES, most):
        count = min(most, RESAMPLES - start)
        drawn = generator.integers(0, groups, size=(count, groups))
        drawn += np.arange(count)[:, None] * groups
        weights = np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups)
        yield np.ascontiguousarray(weights.T, dtype=np.float64)[places]


def _percentiles(values: Array, point: float | None) -> list[float] | None:
    import numpy as np

    defined = values[np.isfinite(values)]
    if point is None or 2 * len(defined) < len(values):
        return None
    # Rounding alone makes equal resamples differ in their last digits.
    if np.ptp(defined) <= 1e-12 * np.abs(defined).max():
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return [min(float(low), point), max(float(high), point)]


def _wilson(successes: int, trials: int) -> list[float]:
    """Wilson, Journal of the American Statistical Association 22 (1927), by SciPy."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    point = successes / trials
    return [min(float(interval.low), point), max(float(interval.high), point)]


def _multiclass(predictions: Predictions) -> Statistics:
    import numpy as np

    places = np.arange(len(predictions.task.names))
    truth = predictions.labels[:, None] == places
    counted = _Counted.of(truth, predictions.predicted[:, None] == places)
    rankings = [
        _Ranking.of(truth[:, place], predictions.scores[:, place], np.arange(len(predictions)))
        for place in places
    ]

    def statistics(weights: Array) -> dict[str, Array]:
        hits, positives, predicted = counted.sums(weights)
        aucs = [ranking.auc(weights) for ranking in rankings]
        precisions = [ranking.average_precision(weights) for ranking in rankings]
        return {
            "accuracy": hits.sum(axis=0) / weights.sum(axis=0),
            "balanced_accuracy": _mean(_divide(hits, positives)),
            "f1": _mean(_divide(2 * hits, positives + predicted)),
            "auc": np.mean(aucs, axis=0),
            "average_precision": np.mean(precisions, axis=0),
        }

    return statistics


def _multilabel(predictions: Predictions) -> Statistics:
    import numpy as np

    known = ~np.isnan(predictions.labels)
    truth = predictions.labels == 1
    counted = _Counted.of(truth, predictions.predicted & known)
    rankings = [
        _Ranking.of(truth[rows, place], predictions.scores[rows, place], rows)
        for place in range(known.shape[1])
        for rows in [np.flatnonzero(known[:, place])]
    ]

    def statistics(weights: Array) -> dict[str, Array]:
        hits, positives, predicted = counted.sums(weights)
        return {
            "auc": _mean(np.stack([ranking.auc(weights) for ranking in rankings])),
            "average_precision": _mean(
                np.stack([ranking.average_precision(weights) for ranking in rankings])
            ),
            "f1": _mean(_divide(2 * hits, positives + predicted)),
        }

    return statistics


def _regression(predictions: Predictions) -> Statistics:
    import numpy as np

    known = ~np.isnan(predictions.labels)
    number = known.astype(np.float64)
    errors = np.where(known, predictions.scores - predictions.labels, 0.0)
    # Around their mean, so that sums of squares keep their digits where labels are large.
    means = _divide(np.where(known, predictions.labels, 0.0).sum(axis=0), number.sum(axis=0))
    labels = np.where(known, predictions.labels - means, 0.0)

    def statistics(weights: Array) -> dict[str, Array]:
        counts = number.T @ weights
        squares = (errors**2).T @ weights
        around_zero = (labels**2).T @ weights
        spread = around_zero - _divide((labels.T @ weights) ** 2, counts)
        # A resample of equal labels has no spread, but for rounding.
        spread = np.where(spread > 1e-12 * around_zero, spread, 0.0)
        return {
            "mae": _mean(_divide(np.abs(errors).T @ weights, counts)),
            "rmse": _mean(np.sqrt(_divide(squares, counts))),
            "r2": _mean(1 - _divide(squares, spread)),
        }

    return statistics


_STATISTICS: Mapping[str, Callable[[Predictions], Statistics]] = {
    "multiclass": _multiclass,
    "multilabel": _multilabel,
    "regression": _regression,
}


@attrs.frozen(kw_only=True, eq=False)
class _Counted:
    """What is true and what is predicted, as numbers of shape (outputs, samples)."""

    hits: Array
    positives: Array
    predicted: Array

    @classmethod
    def of(cls, truth: Array, predicted: Array) -> _Counted:
        import numpy as np

        hits, positives, guesses = (
            np.ascontiguousarray(which.T, dtype=np.float64)
            for which in (truth & predicted, truth, predicted)
        )
        return cls(hits=hits, positives=positives, predicted=guesses)

    def sums(self, weights: Array) -> tuple[Array, Array, Array]:
        """Weighted counts, each of shape (outputs, resamples)."""
        return self.hits @ weights, self.positives @ weights, self.predicted @ weights


@attrs.frozen(kw_only=True, eq=False)
class _Ranking:
    """The samples of one class or finding, ranked by score once for all resamples.

    Attributes:
        positives: Rows of the positive samples, the highest score first.
        negatives: Rows of the negative samples, the highest score first.
        positives_from: For each positive, how many positives score as high or higher.
        negatives_from: For each positive, how many negatives score as high or higher.
        negatives_above: For each positive, how many negatives score higher.
    """

    positives: Array
    negatives: Array
    positives_from: Array
    negatives_from: Array
    negatives_above: Array

    @classmethod
    def of(cls, truth: Array, scores: Array, rows: Array) -> _Ranking:
        import numpy as np

        order = np.argsort(-scores, kind="stable")
        positives, negatives = order[truth[order]], order[~truth[order]]
        # Ascending, as searchsorted wants them.
        high, low = -scores[positives], -scores[negatives]
        return cls(
            positives=rows[positives],
            negatives=rows[negatives],
            positives_from=np.searchsorted(high, high, side="right"),
            negatives_from=np.searchsorted(low, high, side="right"),
            negatives_above=np.searchsorted(low, high, side="left"),
        )

    def auc(self, weights: Array) -> Array:
        """Mann and Whitney's U over the number of pairs; ties count half. NaN without pairs."""
        drawn = weights[self.positives]
        before = _running(weights[self.negatives])
        # Twice the negatives that score lower, with ties once.
        below = 2 * before[-1] - before[self.negatives_from] - before[self.negatives_above]
        return _divide((drawn * below).sum(axis=0), 2 * drawn.sum(axis=0) * before[-1])

    def average_precision(self, weights: Array) -> Array:
        """The mean precision at the positives, as scikit-learn's. NaN without both values."""
        import numpy as np

        drawn = weights[self.positives]
        hits = _running(drawn)
        before = _running(weights[self.negatives])
        found = hits[self.positives_from]
        precision = _divide(found, found + before[self.negatives_from])
        total = np.where(before[-1] > 0, hits[-1], 0.0)
        return _divide((drawn * np.nan_to_num(precision)).sum(axis=0), total)


def _running(weights: Array) -> Array:
    """Sums over the first 0, 1, 2, ... rows."""
    import numpy as np

    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def _divide(above: Array, below: Array) -> Array:
    """The quotient, NaN where it is divided by zero."""
    import numpy as np

    quotients: Array = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=quotients, where=below != 0)
    return quotients


def _mean(values: Array) -> Array:
    """The mean over outputs, (outputs, resamples) to (resamples,), of those that are defined."""
    import numpy as np

    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))
