"""List, scan, screen and split a data set: what training and checks start from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

from medpipe.data.quality.faults import leak_faults
from medpipe.data.quality.quarantine_file import written
from medpipe.data.quality.screening import choose, quarantine_note, screen
from medpipe.data.scanning.scan import Scan
from medpipe.data.splits.leak_removal import without_leaks
from medpipe.data.splits.leaks import predefined_parts
from medpipe.data.splits.split_cache import remembered_split
from medpipe.data.splits.split_file import read_split
from medpipe.data.splits.units import vector
from medpipe.errors import DataError, Fault
from medpipe.steps import PARTS, Dataset, Part, Sample
from medpipe.system.timing import timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.data.quality.non_finite import Fills
    from medpipe.data.scanning.scan import Ahead
    from medpipe.data.splits.split import Split
    from medpipe.settings import BadData, SplitSettings

Unfit = Callable[[Dataset, Scan], "Sequence[Fault]"]
"""Finds samples that don't fit the others; see `data.quality.shape_outliers.unfit_samples`."""


@attrs.frozen(kw_only=True, eq=False)
class PreparedData:
    """The samples with what was found out about them.

    Attributes:
        dataset: What the dataset step listed, without what `Dataset.on_leak` leaves out, which
            its notes name.
        scan: The fingerprint of every image of these.
        split: Which sample is in which part.
        parts: The samples of each part, by id, so that no listing order is left.
        quarantine: What was left out because something is wrong with it.
    """

    dataset: Dataset
    scan: Scan
    split: Split
    parts: dict[Part, tuple[Sample, ...]]
    quarantine: tuple[Fault, ...] = ()

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
    dataset: Dataset,
    settings: SplitSettings,
    *,
    workers: int,
    ahead: Ahead | None = None,
    bad_data: BadData = "refuse",
    left_out: Sequence[Fault] = (),
    unfit: Unfit | None = None,
    fills: Fills | None = None,
) -> PreparedData:
    """Look through a data set and divide it.

    Args:
        dataset: The samples.
        settings: How to divide them.
        workers: How many CPU cores there are.
        ahead: See `scan`.
        bad_data: What to do with faulty samples; see `medpipe.settings.RunSettings`.
        left_out: What an earlier session of the run left out; it stays so.
        unfit: Finds samples that don't fit the others, where such are to be left out.
        fills: Says of images that are not finite whether they leave the chain so.

    Raises:
        BadDataError: Samples are faulty, and are not to be left out.
        DataError: The samples can't be divided so.
        ChangedError: A split file was made with other data.
    """
    dataset = _without_earlier(dataset, left_out)
    with timed("scanning"):
        screened = screen(dataset, workers=workers, ahead=ahead, fills=fills)
    found = screened.scan
    dataset, quarantine = choose(screened, bad_data)
    if bad_data == "quarantine":
        dataset, more = _without_more(dataset, found, settings, unfit)
        quarantine = (*left_out, *quarantine, *more)
        if quarantine:
            notes = (*dataset.notes, quarantine_note(quarantine))
            dataset = attrs.evolve(dataset, notes=notes)
    with timed("splitting"):
        if settings.file is not None:
            dataset, split = read_split(settings.file, dataset, found, settings)
        else:
            if dataset.on_leak == "drop_train":
                dataset = without_leaks(dataset, found, predefined_parts(dataset.samples))
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
    return PreparedData(dataset=dataset, scan=kept, split=split, parts=parts, quarantine=quarantine)


def _without_earlier(dataset: Dataset, left_out: Sequence[Fault]) -> Dataset:
    """The data set without what an earlier session left out, whatever became of it since."""
    if not left_out:
        return dataset
    ids = {fault.sample for fault in left_out}  # as they can be written
    return attrs.evolve(
        dataset,
        samples=[sample for sample in dataset.samples if written(sample.id) not in ids],
        faults=[fault for fault in dataset.faults if written(fault.sample) not in ids],
    )


def _without_more(
    dataset: Dataset, found: Scan, settings: SplitSettings, unfit: Unfit | None
) -> tuple[Dataset, list[Fault]]:
    """Leave out what only the other samples show: it doesn't fit them, or leaks between parts."""
    more = [] if unfit is None else [fault for fault in unfit(dataset, found) if fault.sample]
    dataset = _without(dataset, more)
    if dataset.on_leak == "error" and settings.file is None:
        leaks = list(leak_faults(dataset, found, predefined_parts(dataset.samples)))
        dataset, more = _without(dataset, leaks), [*more, *leaks]
    return dataset, more


def _without(dataset: Dataset, faults: Sequence[Fault]) -> Dataset:
    if not faults:
        return dataset
    ids = {fault.sample for fault in faults}
    samples = [sample for sample in dataset.samples if sample.id not in ids]
    return attrs.evolve(dataset, samples=samples)


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
