"""`Measured`: a metric of predictions, and how it is computed for resamples of them.

NumPy is imported inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.errors import StepError
from medpipe.evaluation.mask_measures import scores_for
from medpipe.registry.failures import failures_named

if TYPE_CHECKING:
    from medpipe.evaluation.predictions import Array, Predictions
    from medpipe.registry.registry import Registry
    from medpipe.steps import MetricStep


@attrs.frozen(kw_only=True, eq=False)
class Measured:
    """A metric of some predictions.

    Attributes:
        value: Of the cases as they are; None where it is undefined.
        statistic: From weights of shape (cases, resamples) to values, (resamples,); NaN where
            undefined.
        interval: How its interval is made; see `MetricStep.interval`.
        proportions: Which cases are right and which count, of shape (cases, proportions), where
            the metric is the mean of proportions; otherwise None.
    """

    value: float | None
    statistic: Callable[[Array], Array]
    interval: Literal["percentiles", "logit", "wilson"] = "percentiles"
    proportions: tuple[Array, Array] | None = None


def measure(
    step: MetricStep,
    predictions: Predictions,
    tables: Mapping[str, Any],
    *,
    registry: Registry,
    folds: Mapping[str, int] | None = None,
) -> Measured:
    """Measure predictions by a metric.

    Args:
        step: The metric.
        predictions: Sorted by id.
        tables: What the task says of each class, finding or target.
        registry: Names the metric's plugin in errors.
        folds: See `medpipe.evaluation.metrics.compute_metrics`.

    Raises:
        StepError: The metric failed, or gave something else than numbers.
    """
    with failures_named(registry.title(step)):
        if folds is None or step.pooled != "mean":
            return _whole(step, predictions, tables, registry)
        return _mean_of_folds(step, predictions, registry, folds)


def _whole(
    step: MetricStep, predictions: Predictions, tables: Mapping[str, Any], registry: Registry
) -> Measured:
    import numpy as np

    task, count = predictions.task, len(predictions)
    rows = step.rows(scores_for(step, predictions), predictions.labels, task)
    if np.shape(rows)[:1] != (count,) or rows.dtype.kind != "f":
        kind = np.asarray(rows).dtype
        typed = "" if kind.kind == "f" else f" and type {kind}"
        raise StepError(
            f"{registry.title(step)} gives rows of shape {np.shape(rows)}{typed} for {count} "
            "cases. Give an array of floats with a row for each case."
        )
    prepared: list[Callable[[Array], Array]] = []  # where there are resamples at all

    def checked(weights: Array) -> Array:
        with failures_named(registry.title(step)):
            if not prepared:
                prepared.append(step.statistic(rows, task))
            values = np.asarray(prepared[0](weights), dtype=np.float64)
            if values.shape != weights.shape[1:]:
                raise StepError(
                    f"The statistic of {registry.title(step)} gives the shape {values.shape} for "
                    f"{weights.shape[1]} resamples. Give a value for each."
                )
            return values

    value = step.value(rows, task, tables) if count else None
    return Measured(
        value=None if value is None or not math.isfinite(value) else float(value),
        statistic=checked,
        interval=step.interval,
        proportions=step.proportions(rows, task) if step.interval == "wilson" else None,
    )


def _mean_of_folds(
    step: MetricStep, predictions: Predictions, registry: Registry, folds: Mapping[str, int]
) -> Measured:
    import numpy as np

    places: dict[int, list[int]] = {}
    for place, id_ in enumerate(predictions.ids):
        places.setdefault(folds[id_], []).append(place)
    each = []
    for fold in sorted(places):
        some = predictions.taken(places[fold])
        each.append((places[fold], _whole(step, some, some.tables(), registry)))
    values = [measured.value for _, measured in each]
    known = [value for value in values if value is not None]
    return Measured(
        value=math.fsum(known) / len(known) if len(known) == len(values) else None,
        statistic=lambda weights: np.mean(
            [measured.statistic(weights[rows]) for rows, measured in each], axis=0
        ),
        interval=step.interval,
    )
