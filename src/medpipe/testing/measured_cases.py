"""Predictions of each built-in task, which checks of metrics measure.

NumPy is imported inside functions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from medpipe.evaluation.mask_measures import MaskMeasures
from medpipe.evaluation.measured import Measured, measure
from medpipe.evaluation.predictions import Predictions
from medpipe.steps import MaskMeasure, Task
from medpipe.system.raised import described
from medpipe.testing.check import Case, FailedError, skip

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

KINDS = {
    "class": "multiclass",
    "findings": "multilabel",
    "numbers": "regression",
    "cases": "segmentation",
}
"""The forms of predictions, and the built-in task that gives them."""
NAMES = ("a", "b", "c")
COUNT = 24
MASKS = 8
SPACING = (1.0, 1.5, 2.0)
SIDES = {2: (20, 20), 3: (12, 12, 12)}
Quality = Literal["drawn", "perfect", "alike", "unknown"]
"""Answers that know nothing; that are all right; labels that are all the same; labels of nobody."""


def forms_of(case: Case) -> list[str]:
    """The forms of predictions that a metric measures.

    Raises:
        CheckSkipped: None of them is of a built-in task.
    """
    forms = [form for form in KINDS if form in case.step.answers]
    if not forms:
        named = ", ".join(sorted(case.step.answers)) or "none"
        raise skip(f"the forms of predictions that it measures are of no built-in task: {named}")
    return forms


def predictions(case: Case, form: str, quality: Quality = "drawn") -> Predictions:
    """Predictions of a form, sorted by id.

    Args:
        case: The metric.
        form: A key of `KINDS`.
        quality: What is in them.

    Raises:
        FailedError: What the metric measures of masks can't be measured.
    """
    task = Task(kind=KINDS[form], names=NAMES)
    measures: dict[str, Any] = {}
    if form == "cases":
        scores, labels, measures = _of_masks(case, quality)
    else:
        scores, labels = _of_numbers(form, quality)
    return Predictions(
        task=task,
        ids=tuple(f"{place:03}" for place in range(len(scores))),
        scores=scores,
        labels=labels,
        groups=tuple(f"patient {place // 2}" for place in range(len(scores))),
        measures=measures,
    )


def measured(case: Case, some: Predictions) -> Measured:
    """A metric of some predictions, as the library computes it."""
    return measure(case.step, some, _Tables(some), registry=case.registry)


class _Tables(Mapping[str, Any]):
    """What the task says of predictions, worked out when a metric looks at it: it takes long."""

    def __init__(self, some: Predictions) -> None:
        self._some = some

    @functools.cached_property
    def _found(self) -> Mapping[str, Any]:
        return self._some.tables()

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _of_numbers(form: str, quality: Quality) -> tuple[Array, Array]:
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (COUNT, len(NAMES))
    labels: Array
    scores: Array
    if form == "class":
        labels = np.arange(COUNT) % len(NAMES)
        scores = rng.dirichlet((1.0,) * len(NAMES), COUNT)
        if quality == "perfect":
            scores = np.eye(len(NAMES))[labels]
        return scores, labels * (quality not in ("alike", "unknown"))
    if form == "findings":
        labels, scores = rng.integers(0, 2, shape).astype(float), rng.uniform(size=shape)
    else:  # above 0, as most of what is measured
        labels, scores = rng.uniform(1, 5, shape), rng.uniform(1, 5, shape)
    if quality == "perfect":
        scores = labels.copy()
    if quality == "alike":
        labels[:] = float(form == "numbers")
    if quality == "unknown":
        labels[:] = math.nan
    elif quality == "drawn":  # some are missing
        labels[1, 0] = labels[4, 1] = labels[5] = math.nan
    return scores, labels


def _of_masks(case: Case, quality: Quality) -> tuple[Array, Array, dict[str, Array]]:
    import numpy as np

    measure, said = case.step.mask_measure(), []
    for dims in SIDES:
        try:
            more = [] if measure is None else _of_measure(measure, dims, quality)
        except Exception as error:
            said.append(described(error))
            continue
        scores, labels = _task_scores(dims, quality)
        found = {name: np.array([each[name] for each in more]) for each in more for name in each}
        return scores.copy(), labels.copy(), found
    raise FailedError(f"what it measures of masks can't be measured: {said[0][:400]}")


def _of_measure(measure: MaskMeasure, dims: int, quality: Quality) -> list[dict[str, list[float]]]:
    """What a measure gives of each case; kept, since some take long."""
    try:
        hash(measure)
    except TypeError:
        return _measured_masks.__wrapped__(measure, dims, quality)
    return _measured_masks(measure, dims, quality)


@functools.lru_cache(maxsize=32)
def _measured_masks(
    measure: MaskMeasure, dims: int, quality: Quality
) -> list[dict[str, list[float]]]:
    task = Task(kind="segmentation", names=NAMES)
    measures = MaskMeasures(task=task, measures=[("it", measure)])
    return [measures(predicted, label, SPACING[:dims]) for predicted, label in masks(dims, quality)]


@functools.cache
def _task_scores(dims: int, quality: Quality) -> tuple[Array, Array]:
    """What the task measures of each case."""
    import numpy as np

    task = Task(kind="segmentation", names=NAMES)
    each = [
        task.step.case_scores(predicted, label, NAMES, spacing=SPACING[:dims], surfaces=True)
        for predicted, label in masks(dims, quality)
    ]
    return np.stack([scores for scores, _ in each]), np.stack([labels for _, labels in each])


@functools.cache
def masks(dims: int, quality: Quality) -> Sequence[tuple[Array, Array]]:
    """Predicted and true masks of a few cases: uint8 of shape (1, spatial...)."""
    import numpy as np

    pairs = []
    for place in range(MASKS):
        label = _balls(dims, place, {1: 3, 2: 2} if place % 3 else {1: 3, 3: 2})
        if quality == "alike":
            label = label * 0
        if quality == "unknown":
            label = np.full_like(label, 255)
        predicted = label.copy()
        if quality != "perfect":
            predicted = _balls(dims, place + 3, {1: 2, 2: 3, 3: 2} if place % 4 else {2: 3, 3: 1})
        pairs.append((predicted, label))
    return pairs


def _balls(dims: int, place: int, radii: dict[int, int]) -> Array:
    """A mask of balls: their value and radius."""
    import numpy as np

    mask = np.zeros((1, *SIDES[dims]), np.uint8)
    axes = np.indices(SIDES[dims])
    for value, radius in radii.items():
        centre = [3 + (value * (axis + 3) + place * (axis + 2)) % 6 for axis in range(dims)]
        far = sum((axes[axis] - centre[axis]) ** 2 for axis in range(dims))
        mask[0][far <= radius**2] = value
    return mask


def values_close(one: Any, other: Any, tolerance: float = 1e-9) -> bool:
    """Whether arrays are equal but for rounding, NaN where the others are."""
    import numpy as np

    return bool(
        np.shape(one) == np.shape(other)
        and np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    )
