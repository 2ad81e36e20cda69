"""Match the labels of another data set to a trained network's task, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.errors import DataError

if TYPE_CHECKING:
    from medpipe.steps import Dataset, Task


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
    if type(own.step) is not type(task.step):
        raise DataError(
            f"The data set's task is {own}, but the network was trained for {task}. Set "
            "dataset.label and dataset.task as in training."
        )
    if own.unit is not None and task.unit is not None and own.unit != task.unit:
        raise DataError(
            f"The data set's targets are in {own.unit}, but the network's are in {task.unit}. "
            "Convert the table's values, or correct dataset.label_unit."
        )
    labels = [sample.label for sample in dataset.samples]
    for sample in dataset.samples:
        if own.step.label_problem(sample.label, own.names) is not None:
            raise DataError(
                f"The sample {sample.id!r} has the label {sample.label!r}, which the data set's "
                f"task does not have: {own}."
            )
    unknown = [n for n in own.step.used_names(labels, own.names) if n not in task.names]
    if unknown:
        raise DataError(
            f"The {task.step.word} {unknown[0]!r} of the data set is unknown to the network, "
            f"which was trained on: {', '.join(task.names)}. {task.step.matching_remedy}"
        )
    samples = [
        attrs.evolve(sample, label=task.step.relabelled(sample.label, own.names, task.names))
        for sample in dataset.samples
    ]
    return attrs.evolve(dataset, samples=samples, task=task)
