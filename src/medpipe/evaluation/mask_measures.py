"""What metrics need of masks beyond what the task measures of each case.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import StepError
from medpipe.registry.failures import failures_named
from medpipe.tasks.structure_masks import structure_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from medpipe.evaluation.predictions import Predictions
    from medpipe.registry.registry import Registry
    from medpipe.steps import MaskMeasure, MetricStep, Task
    from medpipe.tasks.structure_masks import Box

    Array = np.ndarray[Any, np.dtype[Any]]


@attrs.frozen(kw_only=True, eq=False)
class MaskMeasures:
    """Measures the masks of a case for all metrics that ask for more than the task has.

    Attributes:
        task: What the masks mean.
        measures: Each once, with the title of the first step that asks for it.
    """

    task: Task
    measures: Sequence[tuple[str, MaskMeasure]]

    @classmethod
    def of(cls, task: Task, steps: Iterable[MetricStep], registry: Registry) -> MaskMeasures:
        """Those of some metrics.

        Raises:
            StepError: Two keep the same columns, but measure them differently.
        """
        found, problems = _distinct(task, steps, registry)
        if problems:
            raise StepError(problems[0][1])
        return cls(task=task, measures=found)

    def __call__(
        self, predicted: Array, label: Array, spacing: Sequence[float] | None
    ) -> dict[str, list[float]]:
        """Measure a case; arguments as of `TaskStep.case_scores`.

        Returns:
            For each column a number for each name; NaN for one of which nothing is known.

        Raises:
            StepError: A measure failed, or gave something else than numbers.
        """
        if not self.measures:
            return {}
        steps = tuple(spacing or (1.0,) * (predicted.ndim - 1))
        pairs = list(structure_pairs(predicted, label, len(self.task.names)))
        kept: dict[str, list[float]] = {}
        for title, measure in self.measures:
            with failures_named(title):
                rows = [_numbers(title, measure, pair, steps) for pair in pairs]
            for place, column in enumerate(measure.columns):
                kept[column] = [row[place] for row in rows]
        return kept


def measure_problems(
    task: Task, steps: Iterable[MetricStep], registry: Registry
) -> list[tuple[int, str]]:
    """Which of some metrics keep columns that another has, by their places, as sentences."""
    return _distinct(task, steps, registry)[1]


def scores_for(step: MetricStep, predictions: Predictions) -> Array:
    """The scores that `MetricStep.rows` gets: the task's, or what was measured for the metric.

    Where that was not measured, as in validations, all of it is NaN.
    """
    import numpy as np

    measure = step.mask_measure()
    if measure is None:
        return predictions.scores
    missing = np.full((len(predictions), len(predictions.task.names)), np.nan)
    kept = [predictions.measures.get(column, missing) for column in measure.columns]
    columns = len(predictions.task.names) * len(kept)
    return np.stack(kept, axis=-1).reshape(len(predictions), columns)


def _distinct(
    task: Task, steps: Iterable[MetricStep], registry: Registry
) -> tuple[list[tuple[str, MaskMeasure]], list[tuple[int, str]]]:
    """Each measure once with the title of its step, and sentences by the places of steps."""
    found: list[tuple[str, MaskMeasure]] = []
    problems: list[tuple[int, str]] = []
    own = set(task.step.columns(task.names, labels=True))
    for place, step in enumerate(steps):
        measure, title = step.mask_measure(), registry.title(step)
        if measure is None or any(measure == other for _, other in found):
            continue
        for other_title, other in found:
            shared = [column for column in measure.columns if column in other.columns]
            if shared:
                problems.append(
                    (
                        place,
                        f"{title} and {other_title} keep the columns {', '.join(shared)}, but "
                        "measure them differently. Give both the same parameters.",
                    )
                )
                break
        else:
            taken = [c for c in measure.columns if own & {f"{c}_{name}" for name in task.names}]
            if taken:
                said = f"{title} keeps the columns {', '.join(taken)}, which the task has. "
                problems.append((place, f"{said}Rename them."))
            else:
                found.append((title, measure))
    return found, problems


def _numbers(
    title: str,
    measure: MaskMeasure,
    pair: tuple[Array, Array, Box] | None,
    spacing: Sequence[float],
) -> list[float]:
    count = len(measure.columns)
    if pair is None:
        return [float("nan")] * count
    predicted, reference, _ = pair
    values = [float(value) for value in measure(predicted, reference, spacing)]
    if len(values) != count:
        raise StepError(
            f"{title} gives {len(values)} numbers for the columns {', '.join(measure.columns)}. "
            "Give one for each."
        )
    return values


def together(cases: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Array]:
    """What was measured of all cases by column, float64 of shape (cases, names)."""
    import numpy as np

    if not cases:
        return {}
    return {name: np.array([case[name] for case in cases], np.float64) for name in cases[0]}
