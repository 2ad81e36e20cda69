"""Paired differences of metrics between predictions of the same samples.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.evaluation.intervals import standard_error, student
from medpipe.evaluation.measured import measure
from medpipe.evaluation.metrics import metrics_of
from medpipe.evaluation.resampling import group_places, jackknife
from medpipe.registry.registry import Registry
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from medpipe.evaluation.measured import Measured
    from medpipe.evaluation.predictions import Predictions
    from medpipe.steps import MetricStep

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class Difference:
    """How much a metric differs between two networks on the same samples.

    Attributes:
        value: The second's metric less the first's; None where one is undefined.
        interval: Its 95 % interval [low, high]; None where it is undefined with a group left out,
            and where leaving out any group changes nothing.
        p: Of a difference at least as large, were there none; None where there is no interval.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None


def paired_differences(
    first: Predictions,
    second: Predictions,
    *,
    metrics: Sequence[MetricStep] = (),
    registry: Registry | None = None,
    folds: tuple[Mapping[str, int] | None, Mapping[str, int] | None] = (None, None),
) -> dict[str, Difference]:
    """Give the difference of every metric of a task between two networks.

    Each group (patient) is left out of both in turn, so that what both find hard or easy cancels.
    The standard error is the jackknife's, the interval Student's t; see `difference`.

    Args:
        first: Of one network.
        second: Of another, on the same samples, in any order.
        metrics: More than those of the task.
        registry: Where the task's metrics are looked up; by default every installed plugin.
        folds: Of each: see `medpipe.evaluation.metrics.compute_metrics`.

    Returns:
        By metric, second less first.

    Raises:
        ValueError: The samples, the task, labels or groups differ.
        StepError: A metric failed; it is named.
    """
    registry = Registry.discover() if registry is None else registry
    steps = metrics_of(first.task, metrics, registry=registry)
    pair = first.sorted_by_id(), second.sorted_by_id()
    _refuse_unpaired(*pair)
    places = group_places(pair[0])
    measured: list[dict[str, Measured]] = []
    for each, fold in zip(pair, folds, strict=True):
        tables = each.tables()
        measured.append(
            {
                name: measure(step, each, tables, registry=registry, folds=fold)
                for name, step in steps.items()
            }
        )
    left_out = jackknife(
        places,
        {
            (place, name): one.statistic
            for place, table in enumerate(measured)
            for name, one in table.items()
        },
    )
    return {
        name: difference(
            (measured[0][name].value, measured[1][name].value),
            (left_out[0, name], left_out[1, name]),
        )
        for name in (steps if len(places) else ())
    }


def difference(
    values: tuple[float | None, float | None], left_out: tuple[Array, Array]
) -> Difference:
    """The difference of a metric, from its values with each group left out of both.

    Args:
        values: The metric of all samples, for the first network and the second.
        left_out: For both: see `medpipe.evaluation.resampling.jackknife`.
    """
    from scipy.special import stdtr

    first, second = values
    if first is None or second is None:
        return Difference(value=None)
    value = second - first
    error, freedom = standard_error(left_out[1] - left_out[0])
    if not error > 0:
        return Difference(value=value)
    half = student(freedom) * error
    p = 2 * float(stdtr(freedom, -abs(value) / error))
    return Difference(value=value, interval=(value - half, value + half), p=p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm, Scandinavian Journal of Statistics 6, 1979).

    Returns:
        For each the p-value that holds for all of them together, 1 at most.
    """
    adjusted, most = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = most
    return adjusted


def unpaired(first: Predictions, second: Predictions) -> list[str]:
    """What differs between the samples of two predictions, in words.

    Returns:
        Nothing where both have the same samples, task, labels and groups.
    """
    import numpy as np

    if first.task != second.task:
        return [f"the first answers {first.task}, the second {second.task}"]
    one, other = first.sorted_by_id(), second.sorted_by_id()
    alone = [sorted(set(a.ids) - set(b.ids)) for a, b in ((one, other), (other, one))]
    problems = [
        f"{counted(len(ids), 'sample')} of the {which} alone, such as {ids[0]!r}"
        for which, ids in zip(("first", "second"), alone, strict=True)
        if ids
    ]
    if problems:
        known = set(one.ids) & set(other.ids)
        one, other = (
            each.taken([row for row, id_ in enumerate(each.ids) if id_ in known])
            for each in (one, other)
        )
    if not len(one):
        return problems
    equal: Array = np.asarray(one.labels == other.labels)
    equal |= _missing(one.labels) & _missing(other.labels)
    same = equal.reshape(len(one), -1).all(axis=1)
    if not same.all():
        id_ = one.ids[int(np.flatnonzero(~same)[0])]
        several = counted(int((~same).sum()), "sample")
        problems.append(f"the labels of {several} differ, such as that of {id_!r}")
    moved = [i for i, a, b in zip(one.ids, one.groups, other.groups, strict=True) if a != b]
    if moved:
        several = counted(len(moved), "sample")
        problems.append(f"the groups of {several} differ, such as that of {moved[0]!r}")
    return problems


def _missing(labels: Array) -> Array:
    import numpy as np

    return np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(labels.shape, bool)


def _refuse_unpaired(first: Predictions, second: Predictions) -> None:
    problems = unpaired(first, second)
    if problems:
        raise ValueError(f"the predictions are not of the same samples: {'; '.join(problems)}")
