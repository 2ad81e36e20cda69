"""`measure_masks`: predicted masks beside the true ones become `Predictions`.

NumPy is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError
from medpipe.evaluation.mask_measures import MaskMeasures, together
from medpipe.evaluation.metrics import metrics_of
from medpipe.evaluation.predictions import Predictions
from medpipe.registry.registry import Registry
from medpipe.tasks.label_image import IGNORED

if TYPE_CHECKING:
    import numpy as np

    from medpipe.registry.parameters import StepReference
    from medpipe.steps import MetricStep, Task

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["MaskCase", "measure_masks"]


@attrs.frozen(kw_only=True, eq=False)
class MaskCase:
    """The predicted and the true mask of one image or volume.

    Masks are integers of shape (spatial...): 0 for the background, 1 for the first of the task's
    names, and so on. Of structures that may overlap they are 0 and 1 of shape (names, spatial...).
    255 in the truth counts nowhere.

    Attributes:
        id: Its name, unique among the cases.
        predicted: What the network says: an array, or a tensor on the CPU.
        truth: What is true, of the same shape.
        spacing: The sides of a voxel in mm, in the order of the axes. None: lengths count voxels.
        group: What is resampled together for intervals, usually the patient. None: a group of its
            own.
    """

    id: str
    predicted: Any = attrs.field(repr=False)
    truth: Any = attrs.field(repr=False)
    spacing: Sequence[float] | None = None
    group: str | None = None


def measure_masks(
    cases: Iterable[MaskCase],
    task: Task,
    *,
    metrics: Sequence[MetricStep | str | StepReference] = (),
    registry: Registry | None = None,
) -> Predictions:
    """Measure masks case by case: Dice, NSD, HD95 and volume of each structure.

    No mask is kept, so that `cases` may be a generator. `compute_metrics` makes means and intervals
    of what this returns.

    Args:
        cases: The cases of one split.
        task: The structures: ``medpipe.Task(kind="segmentation", names=("liver", "tumour"))``.
        metrics: More than those of the task that `compute_metrics` will be asked for, such as
            ``"lesion_f1"``: names, `medpipe.step` with parameters, or step objects.
        registry: Where metrics are looked up; by default every installed plugin.

    Raises:
        DataError: There is no case, masks are no integers, or of other shapes or values than
            they should be, or the task's labels are no masks; it names the case.
        UnknownStepError: There is no metric of that name.
        StepError: A metric's measure failed; it is named.
    """
    import numpy as np

    if not task.step.dense:
        raise DataError(
            f'The labels of a {task.kind} task are no masks. Give a task of kind="segmentation".'
        )
    registry = Registry.discover() if registry is None else registry
    measures = MaskMeasures.of(
        task, metrics_of(task, metrics, registry=registry).values(), registry
    )
    ids, groups, units, scores, labels, more = [], [], [], [], [], []
    for case in cases:
        predicted, truth = _masks(case, task)
        measured, label = task.step.case_scores(
            predicted, truth, task.names, spacing=case.spacing, surfaces=True
        )
        ids.append(case.id)
        groups.append(case.group)
        units.append(_unit(case, predicted.ndim - 1))
        scores.append(measured)
        labels.append(label)
        more.append(measures(predicted, truth, case.spacing))
    if not ids:
        raise DataError("There is no case to measure.")
    return Predictions(
        task=task,
        ids=tuple(ids),
        scores=np.stack(scores),
        labels=np.stack(labels),
        groups=tuple(groups),
        measures=together(more),
        units=tuple(units),
    )


def _unit(case: MaskCase, axes: int) -> str:
    if case.spacing is not None:
        return "mm"
    return "pixels" if axes == 2 else "voxels"


def _masks(case: MaskCase, task: Task) -> tuple[Array, Array]:
    """Both masks as the task has them: uint8 of shape (channels, spatial...)."""
    import numpy as np

    found = []
    channels = len(task.names) if task.step.label_form == "masks" else None
    for word, given in (("predicted mask", case.predicted), ("true mask", case.truth)):
        mask = np.asarray(given)
        title = f"The {word} of the case {case.id!r}"
        if mask.dtype.kind not in "biu":
            raise DataError(f"{title} has the type {mask.dtype}. Give integers.")
        if channels is not None and (mask.ndim == 0 or len(mask) != channels):
            raise DataError(
                f"{title} has the shape {mask.shape}, but needs a channel for each of "
                f"{channels} structures in front."
            )
        most = 1 if channels is not None else len(task.names)
        wrong = np.setdiff1d(mask[(mask < 0) | (mask > most)], [IGNORED])
        if wrong.size:
            raise DataError(
                f"{title} has the value {wrong[0]}. Values are 0 to {most}, and {IGNORED} where "
                "nothing counts."
            )
        found.append(mask.astype(np.uint8) if channels is not None else mask.astype(np.uint8)[None])
    predicted, truth = found
    if predicted.shape != truth.shape:
        raise DataError(
            f"The masks of the case {case.id!r} have the shapes {np.shape(case.predicted)} and "
            f"{np.shape(case.truth)}. Bring the prediction to the grid of the truth."
        )
    axes = predicted.ndim - 1
    if case.spacing is not None and len(case.spacing) != axes:
        raise DataError(
            f"The spacing of the case {case.id!r} has {len(case.spacing)} numbers for {axes} axes."
        )
    return predicted, truth
