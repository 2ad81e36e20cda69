"""Divide samples into folds, each of which is held out once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from medpipe.data.splits.units import count_of, share_out
from medpipe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.data.splits.shares import Unit
    from medpipe.steps import Sample, Task


def make_folds(
    units: Sequence[Unit], count: int, samples: Sequence[Sample], task: Task
) -> dict[str, int]:
    """The fold of each sample, from 0.

    It does not depend on which fold is held out. Copies of one image are a unit like any other
    here: no split is always trained on.

    Args:
        units: What can't be divided.
        count: How many folds.
        samples: At least those of the units.
        task: What the labels mean.

    Raises:
        DataError: A fold is empty, or a class is in one fold alone.
    """
    placed = share_out(units, dict.fromkeys(range(count), 1 / count), task=task)
    if len(set(placed)) < count:
        raise DataError(
            f"The folds can't be filled: there {count_of(units)} (patients, or images on "
            f"their own; duplicates count as one), too few for split.folds = {count}. Lower it, "
            "or add data."
        )
    folds = {id_: fold for unit, fold in zip(units, placed, strict=True) for id_ in unit.ids}
    some = [sample for sample in samples if sample.id in folds]
    classes = task.step.classes([sample.label for sample in some])
    if classes is not None:
        _require_two_folds([folds[sample.id] for sample in some], classes, task)
    return folds


def _require_two_folds(folds: Sequence[int], classes: Sequence[int], task: Task) -> None:
    homes: dict[int, set[int]] = defaultdict(set)
    for fold, index in zip(folds, classes, strict=True):
        homes[index].add(fold)
    for index, found in sorted(homes.items()):
        if len(found) == 1:
            raise DataError(
                f"The class {task.names[index]!r} has no training samples when the fold "
                f"{min(found)} is held out: all its samples are in it. Remove the class, or give "
                "it more samples or groups."
            )
