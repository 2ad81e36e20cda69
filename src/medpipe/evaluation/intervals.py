"""95 % confidence intervals of metrics.

A bootstrap resample is a weight for each sample, how often it was drawn, so every metric is
computed for many resamples at once, as sums of weights (an AUC by ranks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from medpipe.evaluation.measured import Measured
    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

RESAMPLES = 1000
UNDEFINED = 0.05
"""The share of the resamples in which a metric with an interval may be undefined."""
_NUMBERS_AT_ONCE = 200_000  # 1.6 MB of weights, which stay in a CPU cache


def intervals_of(
    predictions: Predictions, measured: Mapping[str, Measured]
) -> tuple[dict[str, list[float] | None], str]:
    """Give the 95 % interval of each metric, and how they were made.

    Groups (patients) are drawn whole, since their samples are not independent. An interval is
    widened to hold the metric's value where resampling is biased. It is None where the metric is
    undefined, where it is undefined in more than 5 % of the resamples, and where all of them
    agree, as for an AUC of exactly 1: then the bootstrap says nothing about the uncertainty.

    The interval of a proportion, such as the accuracy, is Wilson's where each group has one
    sample. Where groups have several but all samples are right (or all wrong) it is Wilson's too,
    with a group counted as one sample.

    Args:
        predictions: Sorted by id, so that the resamples don't depend on the samples' order.
        measured: The metrics of these predictions.

    Returns:
        [low, high] or None by metric, and the method in words.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    places = _group_places(predictions)
    groups = int(places.max(initial=-1)) + 1
    # The products are small: on cores that others use too, threads that wait for each other made
    # this thirty times slower.
    with threadpool_limits(limits=1, user_api="blas"):
        chunks = [
            {name: one.statistic(weights) for name, one in measured.items()}
            for weights in _resamples(places, groups)
        ]
    found: dict[str, list[float] | None] = {}
    for name in chunks[0] if chunks else ():
        values = np.concatenate([chunk[name] for chunk in chunks])
        found[name] = _percentiles(values, measured[name].value)
    count = len(predictions)
    bootstrap = f"percentiles of {RESAMPLES} bootstrap resamples of {groups} "
    bootstrap += "samples" if groups == count else "groups"
    proportions = []
    for name, one in measured.items():
        if groups and one.right is not None and (groups == count or one.right in (0, count)):
            found[name] = _wilson(groups if one.right == count else one.right, groups)
            proportions.append(name)
    if not proportions:
        return found, f"95 %, {bootstrap}"
    named = ", ".join(proportions)
    return found, f"95 %, {named}: Wilson's with {groups} trials; others: {bootstrap}"


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
    if point is None or len(values) - len(defined) > UNDEFINED * len(values):
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
