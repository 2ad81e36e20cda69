"""A data set, listed, looked through and divided: what training and checks start from."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from medpipe.data.scan import Scan, scan
from medpipe.data.split_file import read_split
from medpipe.data.splits import Split, make_split
from medpipe.errors import DataError
from medpipe.steps import PARTS, Dataset, Part, Sample

if TYPE_CHECKING:
    from medpipe.settings import SplitSettings


@attrs.frozen(kw_only=True, eq=False)
class PreparedData:
    """The samples with what was found out about them.

    Attributes:
        dataset: What the dataset step listed.
        scan: The fingerprint of every image.
        split: Which sample is in which part.
        parts: The samples of each part, by id, so that no listing order is left.
    """

    dataset: Dataset
    scan: Scan
    split: Split
    parts: dict[Part, tuple[Sample, ...]]

    def class_counts(self, part: Part) -> tuple[int, ...] | None:
        """How many samples of a part each class has; None unless there are classes."""
        task = self.dataset.task
        if task.kind != "multiclass":
            return None
        counts = Counter(sample.label for sample in self.parts[part])
        return tuple(counts[index] for index in range(len(task.names)))


def prepare(dataset: Dataset, settings: SplitSettings, *, workers: int) -> PreparedData:
    """Look through a data set and divide it.

    Raises:
        DataError: A label is not one of the task's, an image can't be read, or the samples can't
            be divided so.
        ChangedError: A split file was made with other data.
    """
    _check_labels(dataset)
    found = scan(dataset, workers=workers)
    if settings.file is not None:
        split = read_split(settings.file, dataset.samples, found)
    else:
        split = make_split(dataset.samples, found, settings, dataset.task)
    by_id = {sample.id: sample for sample in dataset.samples}
    parts = {part: tuple(by_id[id_] for id_ in split.ids(part)) for part in PARTS}
    if not parts["training"]:
        raise DataError("No sample is left for training. Lower split.validation and split.test.")
    return PreparedData(dataset=dataset, scan=found, split=split, parts=parts)


def _check_labels(dataset: Dataset) -> None:
    task = dataset.task
    outputs = len(task.names)
    if task.kind == "multiclass" and outputs < 2:
        raise DataError(f"There is one class only, {task.names}. A classifier needs two.")
    for sample in dataset.samples:
        label = sample.label
        if task.kind == "multiclass":
            number = isinstance(label, (int, float)) and not math.isnan(label)
            if not number or label != int(label) or not 0 <= label < outputs:  # type: ignore[arg-type]
                raise DataError(
                    f"The sample {sample.id!r} has the label {label!r}, but the {outputs} classes "
                    f"({', '.join(task.names)}) are 0 to {outputs - 1}."
                )
        elif (len(label) if isinstance(label, tuple) else 1) != outputs:
            raise DataError(
                f"The sample {sample.id!r} has the label {label!r}, but the task has {outputs} "
                f"values for each sample: {', '.join(task.names)}."
            )
