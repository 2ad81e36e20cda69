"""Metrics of segmentations: means over cases, then over structures.

Which cases count is decided by the reference alone, so that networks are compared on the same ones
and nothing is gained by leaving a structure out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.builtin.counting import divide, mean_of
from medpipe.plugin import MetricStep

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from medpipe.plugin import Task

    Array = np.ndarray[Any, np.dtype[Any]]
    Statistic = Callable[[Array], Array]

DICE, NSD, HD95, VOLUME = range(4)
"""The places of a structure's scores: see `MetricStep.rows`."""


class OfStructures(MetricStep):
    """The mean over structures of the mean over the cases whose reference has the structure."""

    answers: ClassVar[frozenset[str]] = frozenset({"cases"})
    direction: ClassVar[Literal["max", "min"]] = "max"
    by_name: ClassVar[bool] = True

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """Sums over counts, by structure."""
        import numpy as np

        known = ~np.isnan(rows)
        values = np.where(known, rows, 0.0).T
        counted = known.T.astype(np.float64)
        return lambda weights: mean_of(divide(values @ weights, counted @ weights))


@attrs.frozen(kw_only=True)
class Dice(OfStructures):
    """The mean Dice over the cases whose reference has the structure: 0 where it is missed."""

    name: ClassVar[str] = "dice"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The Dice of each structure, NaN where the reference has it not."""
        return where_it_is(measured(scores, task, DICE), labels)


@attrs.frozen(kw_only=True)
class SurfaceDice(OfStructures):
    """The mean normalised surface Dice at the task's tolerances: 0 where a structure is missed.

    The share of the surface voxels of prediction and reference that are within the tolerance of
    the other surface, over the cases whose reference has the structure.
    """

    name: ClassVar[str] = "nsd"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The NSD of each structure, NaN where the reference has it not."""
        return where_it_is(measured(scores, task, NSD), labels)


@attrs.frozen(kw_only=True)
class HausdorffDistance95(OfStructures):
    """The median 95th percentile of surface distances, over the cases that have the structure.

    Where a structure is missed, it is infinitely far; undefined where the median is.
    """

    name: ClassVar[str] = "hd95"
    direction: ClassVar[Literal["max", "min"]] = "min"
    unit: ClassVar[str] = "length"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The HD95 of each structure, infinite where it is missed."""
        import numpy as np

        missed = measured(scores, task, VOLUME) == 0
        return where_it_is(np.where(missed, np.inf, measured(scores, task, HD95)), labels)

    def statistic(self, rows: Array, task: Task) -> Statistic:
        """The weighted median, by structure."""
        import numpy as np

        prepared = []
        for column in rows.T:
            places = np.flatnonzero(~np.isnan(column))
            order = places[np.argsort(column[places], kind="stable")]
            prepared.append((order, column[order]))

        def median(weights: Array) -> Array:
            found = mean_of(np.stack([_median(*one, weights) for one in prepared]))
            return np.where(np.isinf(found), np.nan, found)

        return median


@attrs.frozen(kw_only=True)
class VolumeError(OfStructures):
    """The mean relative error of the volume, over the cases whose reference has the structure."""

    name: ClassVar[str] = "volume_error"
    direction: ClassVar[Literal["max", "min"]] = "min"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """The absolute difference of the volumes over the reference's."""
        import numpy as np

        return where_it_is(divide(np.abs(measured(scores, task, VOLUME) - labels), labels), labels)


@attrs.frozen(kw_only=True)
class FalsePositiveShare(OfStructures):
    """The share of the cases without a structure in which some of it is predicted."""

    name: ClassVar[str] = "false_positive_share"
    direction: ClassVar[Literal["max", "min"]] = "min"
    interval: ClassVar[Literal["percentiles", "logit", "wilson"]] = "wilson"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """1 where it is predicted, else 0; NaN where the reference has it, or is not known."""
        import numpy as np

        found: Array = np.where(labels == 0, measured(scores, task, VOLUME) > 0, np.nan)
        return found

    def proportions(self, rows: Array, task: Task) -> tuple[Array, Array]:
        """The share of each structure."""
        import numpy as np

        known = ~np.isnan(rows)
        return np.where(known, rows, 0.0), known.astype(np.float64)


SEGMENTATION_METRICS: tuple[type[MetricStep], ...] = (
    Dice,
    SurfaceDice,
    HausdorffDistance95,
    VolumeError,
    FalsePositiveShare,
)
"""All of them."""


def measured(scores: Array, task: Task, place: int) -> Array:
    """One measure of each case and structure, (cases, names)."""
    return by_name(scores, task)[:, :, place]


def by_name(scores: Array, task: Task) -> Array:
    """What was measured of each case and structure, (cases, names, measures), also of no case."""
    count, width = scores.shape
    return scores.reshape(count, len(task.names), width // len(task.names))


def where_it_is(values: Array, labels: Array) -> Array:
    """Values where the reference has the structure, else NaN."""
    import numpy as np

    return np.where(labels > 0, values, np.nan)


def _median(order: Array, values: Array, weights: Array) -> Array:
    """The median of values of ascending order by weights of shape (cases, resamples)."""
    import numpy as np

    if not len(values):
        return np.full(weights.shape[1], np.nan)
    running = weights[order].cumsum(axis=0)
    half = running[-1] / 2
    # As of so many equal cases: between the middle two where their number is even.
    low, high = values[(running >= half).argmax(axis=0)], values[(running > half).argmax(axis=0)]
    return np.where(half > 0, (low + high) / 2, np.nan)
