"""95 % confidence intervals of metrics.

Which method is used was decided by a simulation; see ``benchmarks/coverage.md``. NumPy is imported
inside functions.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from medpipe.evaluation.resampling import RESAMPLES, bootstrap, group_places, jackknife

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from medpipe.evaluation.measured import Measured
    from medpipe.evaluation.predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

UNDEFINED = 0.05
"""The share of the resamples in which a metric with an interval may be undefined."""
LEVEL = 0.975
"""The quantile of the upper limit of a 95 % interval."""
NORMAL = statistics.NormalDist().inv_cdf(LEVEL)
CORRELATION = 0.4
"""The intraclass correlation of being right that is assumed as far as the data don't tell it."""
ASSUMED = 5
"""How many groups that assumption weighs as much as."""
CAUTION = 0.8
"""What is taken of estimated degrees of freedom: groups that decide may be missing by chance."""


def intervals_of(
    predictions: Predictions, measured: Mapping[str, Measured]
) -> tuple[dict[str, list[float] | None], str]:
    """Give the 95 % interval of each metric, and how they were made.

    Groups (patients) stay whole, since their samples are not independent. As the metric's step
    has it (`MetricStep.interval`):

    - ``wilson``, of proportions: see `proportion_interval`; of a mean of proportions, such as the
      balanced accuracy, see `mean_proportion_interval`.
    - ``logit``, of what lies from 0 to 1, such as an AUC: see `logit_interval`.
    - ``percentiles``: those of `RESAMPLES` bootstrap resamples of the groups, widened to hold the
      metric's value where resampling is biased. None where the metric is undefined in more than
      5 % of the resamples, and where all of them agree.

    Args:
        predictions: Sorted by id, so that the resamples don't depend on the samples' order.
        measured: The metrics of these predictions.

    Returns:
        [low, high] or None by metric, and the methods in words.
    """
    places = group_places(predictions)
    groups = int(places.max(initial=-1)) + 1
    # Of a mean over folds there are no proportions.
    how = {
        name: "percentiles" if (one.interval, one.proportions) == ("wilson", None) else one.interval
        for name, one in measured.items()
    }

    def made_by(method: str) -> dict[str, Any]:
        return {name: one.statistic for name, one in measured.items() if how[name] == method}

    resampled = bootstrap(places, made_by("percentiles"))
    left_out = jackknife(places, made_by("logit"))
    found: dict[str, list[float] | None] = {}
    for name, one in measured.items():
        if name in resampled:
            found[name] = _percentiles(resampled[name], one.value)
        elif name in left_out:
            found[name] = logit_interval(one.value, left_out[name])
        elif one.proportions is not None:
            found[name] = mean_proportion_interval(*one.proportions, places)
    count = "samples" if groups == len(predictions) else "groups"
    words = {
        "wilson": f"Wilson's score, {groups} {count}",
        "logit": f"jackknife over {groups} {count}, logit scale",
        "percentiles": f"percentiles of {RESAMPLES} bootstrap resamples of {groups} {count}",
    }
    methods = [
        f"{', '.join(names)}: {said}"
        for method, said in words.items()
        if (names := [name for name in measured if how[name] == method])
    ]
    return found, "; ".join(["95 %", *methods])


def proportion_interval(right: Array, counted: Array, places: Array) -> list[float] | None:
    """Wilson's interval of a proportion of samples that lie in groups.

    Wilson's score interval (Journal of the American Statistical Association 22, 1927) with the
    effective number of samples, as for surveys of clusters (Dean and Pacheco, Proceedings of the
    Survey Research Methods Section, ASA, 2015): the number of samples over the design effect, 1 or
    more, by which the variance between groups is larger than that of as many independent samples
    (Kish, Survey Sampling, 1965). Of few groups it is uncertain. So it is the weighted mean of the
    one found and of the one that an intraclass correlation of `CORRELATION` gives for groups of
    these sizes, which weighs as much as `ASSUMED` groups. Where all samples are right, or all
    wrong, nothing is known of it, and a group counts as one sample. Where each group has one
    sample this is Wilson's interval itself.

    Args:
        right: 1 where a sample is right, else 0, of shape (samples,).
        counted: 1 where a sample counts, else 0, of shape (samples,).
        places: The group of each sample; see `medpipe.evaluation.resampling.group_places`.

    Returns:
        [low, high]; None where no sample counts, and where one group has both right and wrong.
    """
    found = _clustered(right, counted, places)
    return None if found is None else found.interval


def mean_proportion_interval(right: Array, counted: Array, places: Array) -> list[float] | None:
    """The interval of the mean of several proportions, such as the recalls of classes.

    The limits of the single proportions are combined by the method of variance estimates recovery
    (MOVER; Zou and Donner, Statistics in Medicine 27, 2008), with their correlation over groups.

    Args:
        right: 1 where a sample is right, else 0, of shape (samples, proportions).
        counted: 1 where a sample counts, else 0, of shape (samples, proportions). What counts no
            sample is left out of the mean.
        places: The group of each sample; see `medpipe.evaluation.resampling.group_places`.

    Returns:
        [low, high]; None where a proportion has none, nothing counts, or all samples are of one
        group and some wrong.
    """
    import numpy as np

    columns = [column for column in range(right.shape[1]) if counted[:, column].any()]
    found = [_clustered(right[:, column], counted[:, column], places) for column in columns]
    known = [one for one in found if one is not None]
    if len(known) < len(found) or not known:
        return None
    if len(known) == 1:
        return known[0].interval
    points = np.array([one.point for one in known])
    if places.max() == 0 and np.ptp(points) > 0:
        return None
    limits = np.array([one.interval for one in known])
    influence = np.stack([one.influence for one in known])
    scale = np.linalg.norm(influence, axis=1)
    influence = np.divide(influence.T, scale, out=np.zeros_like(influence.T), where=scale > 0)
    correlation = influence.T @ influence
    np.fill_diagonal(correlation, 1.0)
    mean = float(points.mean())

    def distance(each: Array) -> float:
        return math.sqrt(max(0.0, float(each @ correlation @ each))) / len(each)

    low, high = distance(points - limits[:, 0]), distance(limits[:, 1] - points)
    return [max(0.0, mean - low), min(1.0, mean + high)]


def logit_interval(value: float | None, left_out: Array) -> list[float] | None:
    """The interval of a metric from 0 to 1, from its values with each group left out.

    The standard error is the jackknife's; the interval is symmetric on the logit scale, so that it
    stays between 0 and 1, and as wide as the quantile of Student's t wants. Where few groups
    decide, as near 1, the standard error is itself uncertain: the degrees of freedom are those of
    a variance whose terms vary as these do (Satterthwaite, Biometrics Bulletin 2, 1946), times
    `CAUTION`.

    Args:
        value: The metric of all samples.
        left_out: See `medpipe.evaluation.resampling.jackknife`.

    Returns:
        [low, high]; None where the metric is undefined, also with one group left out, where it is
        exactly 0 or 1, and where all values agree.
    """
    if value is None or not 0 < value < 1:
        return None
    error, freedom = standard_error(left_out)
    if not error > 0:
        return None
    half = student(freedom) * error / (value * (1 - value))
    point = math.log(value / (1 - value))
    return [_logistic(point - half), _logistic(point + half)]


def standard_error(left_out: Array) -> tuple[float, float]:
    """The jackknife's standard error, and its degrees of freedom (1 or more).

    Args:
        left_out: See `medpipe.evaluation.resampling.jackknife`.

    Returns:
        The standard error is NaN where a value is undefined or there is one alone, and 0 where all
        agree.
    """
    import numpy as np

    count = len(left_out)
    if count < 2 or not np.isfinite(left_out).all():
        return math.nan, 1.0
    # Rounding alone makes equal values differ in their last digits.
    if np.ptp(left_out) <= 1e-12 * np.abs(left_out).max():
        return 0.0, 1.0
    squares = (left_out - left_out.mean()) ** 2
    total = float(squares.sum())
    spread = float((squares**2).sum()) - total**2 / count
    freedom = CAUTION * 2 * total**2 / spread if spread > 0 else math.inf
    return math.sqrt((count - 1) / count * total), min(max(freedom, 1.0), 1e6)


def student(freedom: float) -> float:
    """The quantile of Student's t that limits 95 % on both sides."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, LEVEL))


class _Proportion:
    """A proportion with its interval, and what each group adds to its error."""

    __slots__ = ("influence", "interval", "point")

    def __init__(self, point: float, interval: list[float], influence: Array) -> None:
        self.point, self.interval, self.influence = point, interval, influence


def _clustered(right: Array, counted: Array, places: Array) -> _Proportion | None:
    import numpy as np

    groups = int(places.max(initial=-1)) + 1
    sizes = np.bincount(places, counted, groups)
    hits = np.bincount(places, right * counted, groups)
    count, taken = float(sizes.sum()), int((sizes > 0).sum())
    if not count:
        return None
    point = float(hits.sum()) / count
    influence = hits - point * sizes
    if taken == count:
        trials = count
    elif point in (0.0, 1.0):
        trials = float(taken)
    elif taken == 1:
        return None
    else:
        variance = taken / (taken - 1) * float((influence**2).sum()) / count**2
        found = variance * count / (point * (1 - point))
        # As of groups of one size: 1 + (size - 1) * correlation.
        assumed = 1 + (float((sizes**2).sum()) / count - 1) * CORRELATION
        effect = ((taken - 1) * found + ASSUMED * assumed) / (taken - 1 + ASSUMED)
        trials = count / max(effect, 1.0)
    return _Proportion(point, _wilson(point * trials, trials), influence)


def _wilson(successes: float, trials: float) -> list[float]:
    """Wilson's score interval, also where a number of trials is no whole one."""
    point, square = successes / trials, NORMAL**2
    middle = (successes + square / 2) / (trials + square)
    half = NORMAL * math.sqrt(trials * point * (1 - point) + square / 4) / (trials + square)
    return [min(max(0.0, middle - half), point), max(min(1.0, middle + half), point)]


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


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
