"""Checks of what metrics measure of masks."""

from __future__ import annotations

import re
from typing import Any

import attrs

from medpipe.evaluation.mask_measures import measure_problems
from medpipe.steps import MaskMeasure, MetricStep, Task
from medpipe.system.raised import described
from medpipe.tasks.structure_masks import structure_pairs
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.measured_cases import NAMES, SIDES, SPACING, masks
from medpipe.testing.watched import difference

_COLUMN = re.compile(r"[a-z0-9_]+")


@check(
    MetricStep,
    protects="Metrics that need the same of masks have it computed once, and kept once.",
    remedy="Make it a frozen attrs class whose fields are its parameters, with its columns.",
)
def mask_measures_are_values(case: Case) -> None:
    """What it measures of masks equals that of an equal step, and has columns of its own."""
    measure = _measure(case)
    if measure != attrs.evolve(case.step).mask_measure():
        raise FailedError("an equal step has another mask measure")
    columns = tuple(measure.columns)
    if not columns or any(not _COLUMN.fullmatch(column) for column in columns):
        raise FailedError(f"its columns are {columns}: lower case letters, digits, underscores")
    if len(set(columns)) < len(columns):
        raise FailedError(f"its columns are {columns}, of which two are the same")
    task = Task(kind="segmentation", names=NAMES)
    if problems := measure_problems(task, [case.step], case.registry):
        raise FailedError(problems[0][1].rstrip("."))


@check(
    MetricStep,
    protects="Structures may be in one mask alone, in neither, or fill the image.",
    remedy="Give NaN where a number is undefined; look for max, argmax and divisions of nothing.",
    needs=[mask_measures_are_values],
)
def mask_measures_take_all_masks(case: Case) -> None:
    """It gives a number for each column, of masks that are empty, full or of one voxel too."""
    measure = _measure(case)
    said = []
    for dims in SIDES:
        try:
            for name, pair in _pairs(dims).items():
                _try(measure, name, pair, dims)
        except FailedError as failure:
            said.append(failure)
        else:
            return
    raise said[0]


@check(
    MetricStep,
    protects="The next metric measures the same masks.",
    remedy="Work on copies of the masks.",
    needs=[mask_measures_are_values, mask_measures_take_all_masks],
)
def mask_measures_leave_masks_alone(case: Case) -> None:
    """The masks are the same afterwards, and measured again give the same."""
    measure = _measure(case)
    for dims in SIDES:
        for pair in _pairs(dims).values():
            before = [mask.copy() for mask in pair]
            try:
                first, second = (list(measure(*pair, SPACING[:dims])) for _ in range(2))
            except Exception:
                break  # it is for another number of axes
            if difference(before, list(pair)):
                raise FailedError("it changes the masks that it is given")
            if difference(list(map(float, first)), list(map(float, second))):
                raise FailedError(f"of the same masks it gives {first} and then {second}")


def _measure(case: Case) -> MaskMeasure:
    measure = case.step.mask_measure()
    if measure is None:
        raise skip("it needs no more of masks than tasks measure")
    if not isinstance(measure, MaskMeasure):
        raise FailedError(f"its mask_measure gives {type(measure).__name__}, not a MaskMeasure")
    return measure


def _try(measure: Any, name: str, pair: tuple[Any, Any], dims: int) -> None:
    spacing = SPACING[:dims]
    try:
        found = [float(value) for value in measure(*pair, spacing)]
    except Exception as error:
        raise FailedError(
            f"of {name} in {dims}-D it raises {described(error, most=300)}"
        ) from error
    if len(found) != len(measure.columns):
        raise FailedError(f"it gives {len(found)} numbers for the columns {measure.columns}")


def _pairs(dims: int) -> dict[str, tuple[Any, Any]]:
    """Predicted and true masks of one structure, as the library cuts them out."""
    import numpy as np

    predicted, label = masks(dims, "drawn")[1]
    found = [pair for pair in structure_pairs(predicted, label, len(NAMES)) if pair is not None]
    drawn = next((pair[0], pair[1]) for pair in found if pair[0].any() and pair[1].any())
    full, empty = np.ones((4,) * dims, bool), np.zeros((4,) * dims, bool)
    nothing, one = np.zeros((0,) * dims, bool), np.ones((1,) * dims, bool)
    return {
        "two masks": drawn,
        "equal masks": (drawn[1], drawn[1].copy()),
        "a structure that is missed": (empty, full),
        "a structure that is not there": (full, empty),
        "a structure in neither mask": (nothing, nothing.copy()),
        "masks of one voxel": (one, one.copy()),
    }
