"""The built-in metrics.

The value of the cases as they are is scikit-learn's; that of resamples is computed for many
resamples at once, as sums of weights (an AUC by ranks).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.builtin.counting import Counted, Ranking, divide, mean_of, once, sums
from medpipe.plugin import MetricStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from medpipe.plugin import Task

    Array = np.ndarray[Any, np.dtype[Any]]
    Statistic = Callable[[Array], Array]

NAMES = frozenset({"class", "findings"})


@attrs.frozen(kw_only=True)
class Accuracy(MetricStep):
    """The fraction of the cases whose class is right."""

    name: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["max", "min"]] = "max"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})
    interval: ClassVar[Literal["percentiles", "logit", "wilson"]] = "wilson"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """1 where the class is right, else 0."""
        right: Array = (task.step.predicted(scores) == labels).astype(float)
        return right


class _OfNames(MetricStep):
    """Of classes against the rest, or of findings, and the mean of these."""

    answers: ClassVar[frozenset[str]] = NAMES
    direction: ClassVar[Literal["max", "min"]] = "max"
    interval: ClassVar[Literal["percentiles", "logit", "wilson"]] = "logit"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The truth (1, 0 or NaN), what is predicted (1 or 0) and the score of each name."""
        return _beside(scores, labels, task)

    def value(self, rows: Array, task: Task, tables: Mapping[str, Any]) -> float | None:
        """The mean over the classes or findings for which it is defined."""
        return _mean(_column(tables, self.name))


@attrs.frozen(kw_only=True)
class BalancedAccuracy(_OfNames):
    """The mean recall of the classes that occur."""

    name: ClassVar[str] = "balanced_accuracy"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})
    interval: ClassVar[Literal["percentiles", "logit", "wilson"]] = "wilson"

    def value(self, rows: Array, task: Task, tables: Mapping[str, Any]) -> float | None:
        """The mean over the classes that occur."""
        return _mean(_column(tables, "recall"))

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """Hits over positives, by class."""
        counted = _counted(rows)
        return lambda weights: mean_of(
            divide(sums(counted.hits, weights), sums(counted.positives, weights))
        )

    def proportions(self, rows: Array, task: Task) -> tuple[Array, Array]:
        """The recall of each class."""
        counted = _counted(rows)
        return counted.hits.T, counted.positives.T


@attrs.frozen(kw_only=True)
class F1(_OfNames):
    """The mean F1 of the classes or findings that occur or are predicted."""

    name: ClassVar[str] = "f1"

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """Twice the hits over positives and predicted, by name."""
        counted = _counted(rows)

        def f1(weights: Array) -> Array:
            either = sums(counted.positives, weights) + sums(counted.predicted, weights)
            return mean_of(divide(2 * sums(counted.hits, weights), either))

        return f1


class _Ranked(_OfNames):
    """Of what ranks cases by their scores; of classes, all must be there."""

    pooled: ClassVar[Literal["cases", "mean"]] = "mean"

    def value(self, rows: Array, task: Task, tables: Mapping[str, Any]) -> float | None:
        """The mean; None where it is undefined for a class, or for all findings."""
        values = _column(tables, self.name)
        return None if _is_of_classes(task) and None in values else _mean(values)

    def _mean_of_all(self, values: Array, task: Task) -> Array:
        averaged: Array = values.mean(axis=0) if _is_of_classes(task) else mean_of(values)
        return averaged


@attrs.frozen(kw_only=True)
class AUC(_Ranked):
    """The mean area under the ROC curve of each class against the rest, or of each finding."""

    name: ClassVar[str] = "auc"

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """By ranks, that are worked out once."""
        import numpy as np

        ranked = _rankings(rows)
        return lambda weights: self._mean_of_all(np.stack([r.auc(weights) for r in ranked]), task)


@attrs.frozen(kw_only=True)
class AveragePrecision(_Ranked):
    """The mean average precision of each class against the rest, or of each finding."""

    name: ClassVar[str] = "average_precision"

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """By ranks, that are worked out once."""
        import numpy as np

        ranked = _rankings(rows)
        return lambda weights: self._mean_of_all(
            np.stack([r.average_precision(weights) for r in ranked]), task
        )


class _OfTargets(MetricStep):
    """Of each target, and the mean of these; rows are labels and predictions side by side."""

    answers: ClassVar[frozenset[str]] = frozenset({"numbers"})
    direction: ClassVar[Literal["max", "min"]] = "min"
    unit: ClassVar[str] = "target"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The label (NaN where it is missing) and the prediction of each target."""
        return _labels_and_predictions(scores, labels)

    def value(self, rows: Array, task: Task, tables: Mapping[str, Any]) -> float | None:
        """The mean over the targets for which it is defined."""
        return _mean(_column(tables, self.name))


@attrs.frozen(kw_only=True)
class MAE(_OfTargets):
    """The mean absolute error, averaged over targets."""

    name: ClassVar[str] = "mae"

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """Absolute errors over counts, by target."""
        import numpy as np

        number, errors = _errors(rows)
        absolute = np.abs(errors)
        return lambda weights: mean_of(divide(sums(absolute, weights), sums(number, weights)))


@attrs.frozen(kw_only=True)
class RMSE(_OfTargets):
    """The root of the mean squared error, averaged over targets."""

    name: ClassVar[str] = "rmse"

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """Squared errors over counts, by target."""
        import numpy as np

        number, _ = _errors(rows)
        squares = _squares(rows)
        return lambda weights: mean_of(
            np.sqrt(divide(sums(squares, weights), sums(number, weights)))
        )


@attrs.frozen(kw_only=True)
class R2(_OfTargets):
    """The coefficient of determination, averaged over targets."""

    name: ClassVar[str] = "r2"
    direction: ClassVar[Literal["max", "min"]] = "max"
    unit: ClassVar[str] = ""

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """One minus squared errors over squared deviations, by target."""
        import numpy as np

        number, _ = _errors(rows)
        squares = _squares(rows)
        known, (labels, _) = number > 0, np.split(rows.T, 2)
        # Around their mean, so that sums of squares keep their digits where labels are large.
        means = divide(np.where(known, labels, 0.0).sum(axis=1), number.sum(axis=1))
        labels = np.where(known, labels - means[:, None], 0.0)

        def r2(weights: Array) -> Array:
            around_zero = labels**2 @ weights
            spread = around_zero - divide((labels @ weights) ** 2, sums(number, weights))
            # A resample of equal labels has no spread, but for rounding.
            spread = np.where(spread > 1e-12 * around_zero, spread, 0.0)
            return mean_of(1 - divide(sums(squares, weights), spread))

        return r2


METRICS: tuple[type[MetricStep], ...] = (
    Accuracy,
    BalancedAccuracy,
    F1,
    AUC,
    AveragePrecision,
    MAE,
    RMSE,
    R2,
)
"""All built-in metrics."""


@once
def _beside(scores: Array, labels: Array, task: Task) -> Array:
    import numpy as np

    places = np.arange(len(task.names))
    predicted = task.step.predicted(scores)
    if _is_of_classes(task):
        labels, predicted = labels[:, None] == places, predicted[:, None] == places
    return np.concatenate([labels, predicted, scores], axis=1, dtype=np.float64)


@once
def _counted(rows: Array) -> Counted:
    import numpy as np

    labels, predicted, _ = np.split(rows, 3, axis=1)
    return Counted.of(labels == 1, (predicted == 1) & ~np.isnan(labels))


@once
def _rankings(rows: Array) -> list[Ranking]:
    import numpy as np

    columns = zip(*(part.T for part in np.split(rows, 3, axis=1)), strict=True)
    return [Ranking.of(truth == 1, scores, ~np.isnan(truth)) for truth, _, scores in columns]


@once
def _labels_and_predictions(scores: Array, labels: Array) -> Array:
    import numpy as np

    return np.concatenate([labels, scores], axis=1)


@once
def _errors(rows: Array) -> tuple[Array, Array]:
    """Of shape (targets, cases): 1 where the label is known, and the error there, else 0."""
    import numpy as np

    labels, scores = np.split(rows.T, 2)
    known = ~np.isnan(labels)
    return known.astype(np.float64), np.where(known, scores - labels, 0.0)


@once
def _squares(rows: Array) -> Array:
    return _errors(rows)[1] ** 2


def _is_of_classes(task: Task) -> bool:
    """Whether a label is the index of a class, not a vector."""
    return len(task.step.label_shape(1, task.names)) == 1


def _column(tables: Mapping[str, Any], name: str) -> list[float | None]:
    """A value of each class, finding or target."""
    first = next(table for table in tables.values() if isinstance(table, dict))
    return [table[name] for table in first.values()]


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    mean = math.fsum(defined) / len(defined) if defined else math.nan
    return mean if math.isfinite(mean) else None
