"""A data set, listed, looked through and divided: what training and checks start from."""

from __future__ import annotations

import math
from collections import Counter
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

from medpipe.data.scan import Scan, scan
from medpipe.data.split_file import read_split
from medpipe.data.split_memory import remembered_split
from medpipe.data.splitting.leaks import brought_parts, contradictions, without_leaks
from medpipe.data.splitting.units import vector
from medpipe.errors import DataError
from medpipe.steps import PARTS, Dataset, Part, Sample
from medpipe.timing import timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.data.scan import Ahead
    from medpipe.data.splits import Split
    from medpipe.settings import SplitSettings


@attrs.frozen(kw_only=True, eq=False)
class PreparedData:
    """The samples with what was found out about them.

    Attributes:
        dataset: What the dataset step listed, without what `Dataset.on_leak` leaves out, which
            its notes name.
        scan: The fingerprint of every image of these.
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

    def finding_counts(self, part: Part) -> tuple[tuple[int, int], ...] | None:
        """How many samples of a part are without each finding, and how many have it.

        None unless the task is ``multilabel``.
        """
        if self.dataset.task.kind != "multilabel":
            return None
        columns = zip(*(vector(sample.label) for sample in self.parts[part]), strict=True)
        return tuple((column.count(0), column.count(1)) for column in columns)

    def target_statistics(self, part: Part) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The mean and the standard deviation of each target of a regression in a part.

        Over the samples that have the target. The standard deviation is 1 where the target does
        not vary, so that one can divide by it.

        Returns:
            The means and the standard deviations, in the order of the targets; None unless the
            task is a regression.
        """
        if self.dataset.task.kind != "regression":
            return None
        means, spreads = [], []
        for values in zip(*(vector(sample.label) for sample in self.parts[part]), strict=True):
            known = [value for value in values if not math.isnan(value)]
            # Of one order, so that the last digit is the same on every machine.
            mean = math.fsum(known) / len(known)
            spread = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known))
            means.append(mean)
            spreads.append(spread if min(known) < max(known) and spread > 0 else 1.0)
        return tuple(means), tuple(spreads)


def prepare(
    dataset: Dataset, settings: SplitSettings, *, workers: int, ahead: Ahead | None = None
) -> PreparedData:
    """Look through a data set and divide it.

    Args:
        dataset: The samples.
        settings: How to divide them.
        workers: How many processors there are.
        ahead: See `scan`.

    Raises:
        DataError: A label is not one of the task's, an image can't be read, or the samples can't
            be divided so.
        ChangedError: A split file was made with other data.
    """
    _check_labels(dataset)
    with timed("scanning"):
        found = scan(dataset, workers=workers, ahead=ahead)
    note = contradictions(dataset.samples, found, dataset.task)
    if note is not None:
        dataset = attrs.evolve(dataset, notes=(*dataset.notes, note))
    with timed("splitting"):
        if settings.file is not None:
            dataset, split = read_split(settings.file, dataset, found, settings)
        else:
            if dataset.on_leak == "drop_train":
                dataset = without_leaks(dataset, found, brought_parts(dataset.samples))
            split = remembered_split(dataset.samples, found, settings, dataset.task)
    ordered = sorted(dataset.samples, key=attrgetter("id"))
    placed = [split.parts[sample.id] for sample in ordered]
    parts: dict[Part, tuple[Sample, ...]] = {
        part: tuple(compress(ordered, [given == part for given in placed])) for part in PARTS
    }
    if not parts["training"]:
        raise DataError("No sample is left for training. Lower split.validation and split.test.")
    _require_values(parts["training"], dataset)
    kept = Scan(fingerprints=found.of(dataset.samples))
    return PreparedData(dataset=dataset, scan=kept, split=split, parts=parts)


def _require_values(samples: Sequence[Sample], dataset: Dataset) -> None:
    """See that each finding or target has labels to train on."""
    task = dataset.task
    if task.kind == "multiclass":
        return
    columns = zip(*(vector(sample.label) for sample in samples), strict=True)
    for name, values in zip(task.names, columns, strict=True):
        if all(math.isnan(value) for value in values):
            noun = "target" if task.kind == "regression" else "finding"
            raise DataError(
                f"The {noun} {name!r} has no training sample with a label. Remove it, or give it "
                "more samples or groups."
            )


def _check_labels(dataset: Dataset) -> None:
    task = dataset.task
    outputs = len(task.names)
    if task.kind == "multiclass" and outputs < 2:
        raise DataError(f"There is one class only, {task.names}. A classifier needs two.")
    labels = [sample.label for sample in dataset.samples]
    whole = task.kind == "multiclass" and set(map(type, labels)) == {int}
    if whole and set(labels) <= set(range(outputs)):
        return  # as almost always
    for sample in dataset.samples:
        label = sample.label
        if task.kind == "multiclass":
            number = isinstance(label, (int, float)) and math.isfinite(label)
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
        elif any(math.isinf(value) for value in vector(label)):
            raise DataError(f"The sample {sample.id!r} has the label {label!r}: it is infinite.")
        elif task.kind == "multilabel" and not all(
            value in (0, 1) or math.isnan(value) for value in vector(label)
        ):
            raise DataError(
                f"The sample {sample.id!r} has the label {label!r}. Each finding is 1, 0 or NaN "
                "(missing)."
            )
