"""`MetricStep`: what a metric measures, and how its interval is made.

NumPy is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medpipe.tasks import ReportContext, ReportSection, Step, Task

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class MaskMeasure:
    """What a metric needs of a structure's masks beyond what the task measures of each case.

    Two that are equal are computed once: make it a frozen attrs class, whose fields are its
    parameters.

    Attributes:
        columns: Names of the numbers, with which predictions keep them. Lower case letters, digits
            and underscores.
    """

    columns: ClassVar[tuple[str, ...]]

    def __call__(
        self, predicted: Array, reference: Array, spacing: Sequence[float]
    ) -> Sequence[float]:
        """Measure a structure of one case.

        Args:
            predicted: Bool of shape (spatial...), on the grid of the file, cropped to where the
                structure is in either; of no voxel where it is in neither.
            reference: The same of the truth. What counts nowhere is in neither.
            spacing: Millimetres between voxels along each axis; 1 where that is not known.

        Returns:
            A number for each of `columns`; NaN where one is undefined.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__ method")


class MetricStep(Step):
    """Measures predictions: a number for each case, and one for all of them.

    With `rows` alone, the metric is the mean over cases; its interval, its subgroups, its folds
    and its use as ``trainer.monitor`` come with it. A metric that is no mean, such as an AUC, also
    defines `statistic`.

    Attributes:
        direction: Whether more (``max``) or less (``min``) of it is better.
        answers: The forms of predictions that it measures; see `TaskStep.answer_form`.
        unit: Its unit in words; ``target``: that of the targets; ``length``: what lengths are
            counted in, mm, or pixels or voxels where files have no spacing; empty for none.
        pooled: Over folds: of the cases of all folds (``cases``), or the mean of the folds' values
            (``mean``), for what ranks scores, since those of different networks do not compare.
        interval: How its 95 % interval is made: ``percentiles`` of bootstrap resamples;
            ``logit``, for what lies from 0 to 1, by the jackknife; ``wilson``, for a proportion or
            a mean of `proportions`. The last two are better where there are few groups, or values
            near 1. What is not smooth in the cases, such as a specificity at the threshold that
            gives a sensitivity of 95 %, keeps ``percentiles``: the jackknife fails there.
        by_name: Whether `rows` has a column for each of the task's names, and the metric is the
            mean over the columns: each column is then also reported alone, with its interval.
    """

    kind: ClassVar[str] = "metric"
    required: ClassVar[tuple[str, ...]] = ("direction", "rows")
    direction: ClassVar[Literal["max", "min"]]
    answers: ClassVar[frozenset[str]] = frozenset({"class", "findings", "numbers"})
    unit: ClassVar[str] = ""
    pooled: ClassVar[Literal["cases", "mean"]] = "cases"
    interval: ClassVar[Literal["percentiles", "logit", "wilson"]] = "percentiles"
    by_name: ClassVar[bool] = False

    def rows(self, scores: Array, labels: Array, task: Task) -> Array:
        """Measure each case on its own.

        Args:
            scores: Float64 of shape (cases, names); see `Predictions.scores`. Where `answers` is
                ``cases``, of shape (cases, 4 x names): Dice, NSD, HD95 and volume of each name.
                With a `mask_measure`, of shape (cases, columns x names): what it gave of each
                name, NaN where nothing was measured.
            labels: As `Predictions.labels`.
            task: What they mean.

        Returns:
            Float64 of shape (cases,), or (cases, ...) for a `statistic` of one's own. NaN where a
            case says nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rows method")

    def mask_measure(self) -> MaskMeasure | None:
        """What the metric needs of masks, where `answers` is ``cases``; None: what tasks measure.

        It is computed where distances between surfaces are: on the test split and other data sets,
        and in validations only where ``trainer.monitor`` names a metric that is not the task's.
        """
        return None

    def statistic(self, rows: Array, task: Task) -> Callable[[Array], Array]:
        """Prepare the metric of all cases; by default the weighted mean of the rows.

        Args:
            rows: What `rows` gave for all cases.
            task: What they mean.

        Returns:
            A function of weights, float64 of shape (cases, resamples): how often each case counts.
            It gives the values, (resamples,), NaN where the metric is undefined.
        """
        import numpy as np

        known = ~np.isnan(rows)
        values, counted = np.where(known, rows, 0.0), known.astype(np.float64)

        def mean(weights: Array) -> Array:
            counts: Array = counted @ weights
            means: Array = np.full(counts.shape, np.nan)
            np.divide(values @ weights, counts, out=means, where=counts > 0)
            return means

        return mean

    def proportions(self, rows: Array, task: Task) -> tuple[Array, Array]:
        """Of what proportions the metric is the mean, where its interval is ``wilson``.

        By default of one: `rows` of shape (cases,), of 1, 0 or NaN. A metric that is the mean of
        several, such as the recalls of the classes, defines it beside its `statistic`.

        Args:
            rows: What `rows` gave for all cases.
            task: What they mean.

        Returns:
            Which cases are right (1, else 0) and which count (1, else 0), both float64 of shape
            (cases, proportions); no case is right that doesn't count. A proportion without a case
            that counts is left out of the mean.
        """
        import numpy as np

        known = ~np.isnan(rows)
        right, counted = np.where(known, rows, 0.0), known.astype(np.float64)
        return right[:, None], counted[:, None]

    def value(self, rows: Array, task: Task, tables: Mapping[str, Any]) -> float | None:
        """The metric of all cases as they are; None where it is undefined.

        Args:
            rows: What `rows` gave for all cases.
            task: What they mean.
            tables: What the task says of each class, finding or target; see `TaskStep.tables`.
        """
        import numpy as np

        values = self.statistic(rows, task)(np.ones((len(rows), 1)))
        if np.shape(values) != (1,):
            raise ValueError(f"its statistic gives the shape {np.shape(values)} for 1 resample")
        return float(values[0]) if np.isfinite(values[0]) else None

    def report_sections(self, context: ReportContext) -> Sequence[ReportSection]:
        """Sections to add to the report of a run; none by default."""
        return ()
