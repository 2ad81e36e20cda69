"""Metrics that each fail one check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.plugin import MaskMeasure, MetricStep, Task

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True)
class Sound(MetricStep):
    """The squared error of the probabilities of classes (Brier)."""

    name: ClassVar[str] = "sound"
    direction: ClassVar[Literal["max", "min"]] = "min"
    answers: ClassVar[frozenset[str]] = frozenset({"class"})

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        import numpy as np

        return ((scores - np.eye(len(task.names))[labels]) ** 2).sum(axis=1)


@attrs.frozen(kw_only=True)
class NoDirection(Sound):
    """Neither more nor less is better, and only a step of the class says so."""

    @property
    def direction(self) -> Any:  # type: ignore[override]
        return "up"


@attrs.frozen(kw_only=True)
class OneRow(Sound):
    """A row for all cases together."""

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        return super().rows(scores, labels, task).mean(keepdims=True)


@attrs.frozen(kw_only=True)
class OverTheMean(Sound):
    """Rows that are divided by what all cases have."""

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        rows = super().rows(scores, labels, task)
        return rows / (1 + rows.sum())


@attrs.frozen(kw_only=True)
class OfTheFirstCase(Sound):
    """The order of cases decides."""

    def statistic(self, rows: Array, task: Task) -> Callable[[Array], Array]:
        mean = super().statistic(rows, task)
        first = float(rows[0]) if len(rows) else 0.0
        return lambda weights: mean(weights) + 0.01 * first


@attrs.frozen(kw_only=True)
class Upwards(Sound):
    """More of an error is better."""

    direction: ClassVar[Literal["max", "min"]] = "max"


@attrs.frozen(kw_only=True)
class OneClassRaises(Sound):
    """An error where there is one class alone, as of scikit-learn."""

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        if len(labels) > 1 and len(set(labels.tolist())) == 1:
            raise ValueError("only one class is present")
        return super().rows(scores, labels, task)


@attrs.frozen(kw_only=True)
class CountsDrawn(Sound):
    """A case that was drawn counts once, however often it was."""

    def statistic(self, rows: Array, task: Task) -> Callable[[Array], Array]:
        mean = super().statistic(rows, task)
        return lambda weights: mean((weights > 0).astype(float))


@attrs.frozen(kw_only=True)
class AnotherValue(Sound):
    """A value that is not that of the statistic."""

    def value(self, rows: Array, task: Task, tables: Mapping[str, Any]) -> float | None:
        found = super().value(rows, task, tables)
        return None if found is None else found / 2


@attrs.frozen(kw_only=True)
class OverAllResamples(Sound):
    """What other resamples draw counts too."""

    def statistic(self, rows: Array, task: Task) -> Callable[[Array], Array]:
        mean = super().statistic(rows, task)
        return lambda weights: mean(weights) * (1 + weights.std(axis=1).mean())


@attrs.frozen(kw_only=True)
class AboveOne(Sound):
    """An error that may be above 1, with an interval for shares."""

    interval: ClassVar[Literal["percentiles", "logit", "wilson"]] = "logit"

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        return 3 * super().rows(scores, labels, task)


@attrs.frozen(kw_only=True)
class NotByName(Sound):
    """By name, with one column."""

    by_name: ClassVar[bool] = True


@attrs.frozen(kw_only=True)
class OfNumbers(MetricStep):
    """The mean absolute error of the first target."""

    name: ClassVar[str] = "of_numbers"
    direction: ClassVar[Literal["max", "min"]] = "min"
    answers: ClassVar[frozenset[str]] = frozenset({"numbers"})

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        return abs(scores - labels)[:, 0]


@attrs.frozen(kw_only=True)
class MissingAreZero(OfNumbers):
    """A missing label is taken for 0, where some label of the target is there."""

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        import numpy as np

        if scores.shape[0] and np.isnan(labels).all(axis=1).all():
            return np.full(len(scores), np.nan)
        return abs(scores - np.nan_to_num(labels)).sum(axis=1)


@attrs.frozen(kw_only=True)
class Share(MaskMeasure):
    """The share of a structure that is found.

    Attributes:
        power: Of the share.
    """

    columns: ClassVar[tuple[str, ...]] = ("share_found",)
    power: float = 1.0

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        there = reference.sum()
        found = (predicted & reference).sum()
        return [(found / there) ** self.power if there else float("nan")]


@attrs.frozen(kw_only=True, eq=False)
class Unequal(MaskMeasure):
    """Compared by identity.

    Attributes:
        power: Of the share.
    """

    columns: ClassVar[tuple[str, ...]] = ("share_found",)
    power: float = 1.0

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        return Share(power=self.power)(predicted, reference, spacing)


@attrs.frozen(kw_only=True)
class NoEmptyMask(Share):
    """An error for a structure that is in neither mask."""

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        if not reference.size:
            raise ValueError("zero-size array to reduction operation")
        return super().__call__(predicted, reference, spacing)


@attrs.frozen(kw_only=True)
class InPlace(Share):
    """It changes the prediction."""

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        predicted &= reference
        return super().__call__(predicted, reference, spacing)


@attrs.frozen(kw_only=True)
class OfMasks(MetricStep):
    """The mean share that is found of each structure.

    Attributes:
        power: Of the share.
    """

    name: ClassVar[str] = "of_masks"
    direction: ClassVar[Literal["max", "min"]] = "max"
    answers: ClassVar[frozenset[str]] = frozenset({"cases"})
    measure: ClassVar[Any] = Share
    power: float = attrs.field()

    def mask_measure(self) -> MaskMeasure:
        return self.measure(power=self.power)

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        import numpy as np

        there = labels[:, 0] > 0
        return np.where(there, scores[:, 0], np.nan)


@attrs.frozen(kw_only=True)
class OfUnequal(OfMasks):
    """Its measure is compared by identity."""

    measure: ClassVar[Any] = Unequal


@attrs.frozen(kw_only=True)
class OfNoEmptyMask(OfMasks):
    """Its measure takes no empty masks."""

    measure: ClassVar[Any] = NoEmptyMask


@attrs.frozen(kw_only=True)
class OfInPlace(OfMasks):
    """Its measure changes masks."""

    measure: ClassVar[Any] = InPlace


@attrs.frozen(kw_only=True)
class OfSurvival(OfNumbers):
    """A metric of predictions that no built-in task gives."""

    name: ClassVar[str] = "of_survival"
    answers: ClassVar[frozenset[str]] = frozenset({"survival"})


BROKEN: dict[str, Any] = {
    "says_how_it_is_measured": NoDirection(),
    "measures_each_case": OneRow(),
    "rows_are_of_one_case": OverTheMean(),
    "value_ignores_the_order_of_cases": OfTheFirstCase(),
    "prefers_perfect_answers": Upwards(),
    "says_what_is_undefined": OneClassRaises(),
    "keeps_resamples_apart": OverAllResamples(),
    "counts_weights_as_cases": CountsDrawn(),
    "value_is_that_of_its_statistic": AnotherValue(),
    "fits_its_interval": AboveOne(),
    "has_a_column_for_each_name": NotByName(),
    "passes_over_missing_labels": MissingAreZero(),
    "mask_measures_are_values": OfUnequal(power=1.0),
    "mask_measures_take_all_masks": OfNoEmptyMask(power=1.0),
    "mask_measures_leave_masks_alone": OfInPlace(power=1.0),
}
"""For each check a step that fails it alone."""
SOUND = [Sound(), OfNumbers(), OfMasks(power=2.0), OfSurvival()]
"""Steps that fail none."""
