"""Match the labels of another data set to a trained network's task, by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.steps import Dataset, Sample, Task

WORDS = {"multiclass": "class", "multilabel": "finding", "regression": "target"}
REMEDIES = {
    "multiclass": "Map it to one of these with dataset.classes, or leave its samples out.",
    "multilabel": "Map it to one of these with dataset.classes, or leave it out of the labels.",
    "regression": "Name the column as the run does, or leave it out of the labels.",
}


def matched(dataset: Dataset, task: Task) -> Dataset:
    """The data set with the labels in the order of another task's names.

    It may have the names in another order, or some of them. A finding or target that it lacks is
    missing in its labels; a class that no sample has needs no counterpart.

    Args:
        dataset: A data set that asks the same question.
        task: The network's question.

    Raises:
        DataError: The questions are of different kinds or units, the data set has a name that
            the network doesn't know, or a sample's label is none of its own task's.
    """
    own = dataset.task
    if own.kind != task.kind:
        raise DataError(
            f"The data set's question is {own.kind} ({_listed(own.names)}), but the network was "
            f"trained for {task.kind} ({_listed(task.names)}). Set dataset.label and dataset.task "
            "so that it asks what the network answers."
        )
    if own.unit is not None and task.unit is not None and own.unit != task.unit:
        raise DataError(
            f"The data set's targets are in {own.unit}, but the network's are in {task.unit}. "
            "Convert the table's values, or correct dataset.label_unit."
        )
    for sample in dataset.samples:
        _check_label(sample, own)
    used = _used(dataset)
    unknown = [name for name in used if name not in task.names]
    if unknown:
        word = WORDS[task.kind]
        raise DataError(
            f"The {word} {unknown[0]!r} of the data set is none that the network knows: "
            f"{_listed(task.names)}. {REMEDIES[task.kind]}"
        )
    places: list[int | None] = [
        own.names.index(name) if name in own.names else None for name in task.names
    ]
    samples = [_relabelled(sample, own, task, places) for sample in dataset.samples]
    return attrs.evolve(dataset, samples=samples, task=task)


def _used(dataset: Dataset) -> Sequence[str]:
    names = dataset.task.names
    if dataset.task.kind != "multiclass":
        return names
    return [names[place] for place in sorted({_place(sample) for sample in dataset.samples})]


def _relabelled(sample: Sample, own: Task, task: Task, places: Sequence[int | None]) -> Sample:
    label: Any
    if task.kind == "multiclass":
        label = task.names.index(own.names[_place(sample)])
    else:
        values = _vector(sample.label)
        label = tuple(math.nan if place is None else values[place] for place in places)
    return attrs.evolve(sample, label=label)


def _check_label(sample: Sample, task: Task) -> None:
    values = _vector(sample.label)
    if task.kind == "multiclass":
        (value,) = values if len(values) == 1 else (math.nan,)
        fits = value in range(len(task.names))
    else:
        fits = len(values) == len(task.names)
    if not fits:
        raise DataError(
            f"The sample {sample.id!r} has the label {sample.label!r}, which is none of the data "
            f"set's task: {task.kind} ({_listed(task.names)})."
        )


def _place(sample: Sample) -> int:
    return int(sample.label)  # type: ignore[arg-type]  # checked: it is a class's index


def _vector(label: Any) -> tuple[float, ...]:
    return tuple(label) if isinstance(label, (tuple, list)) else (label,)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
