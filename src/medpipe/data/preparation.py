"""List, scan, screen and split a data set: what training and checks start from."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.ids import portable_id
from medpipe.data.quality.faults import leak_faults
from medpipe.data.quality.quarantine_file import written
from medpipe.data.quality.screening import choose, quarantine_note, screen, with_labels
from medpipe.data.scanning.scan import Scan
from medpipe.data.splits.leak_removal import without_leaks
from medpipe.data.splits.leaks import predefined_splits
from medpipe.data.splits.split_cache import remembered_splits
from medpipe.data.splits.split_file import read_splits
from medpipe.errors import DataError, Fault
from medpipe.steps import SPLITS, Dataset, Sample, Split
from medpipe.system.files import sha256_of
from medpipe.system.timing import timed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.data.quality.non_finite import Fills
    from medpipe.data.scanning.label_scan import LabelScan
    from medpipe.data.scanning.scan import Ahead
    from medpipe.data.splits.split import Splits
    from medpipe.settings import BadData, SplitSettings

Unfit = Callable[[Dataset, Scan], "Sequence[Fault]"]
"""Finds samples that don't fit the others; see `data.quality.shape_outliers.unfit_samples`."""


@attrs.frozen(kw_only=True, eq=False)
class PreparedData:
    """A data set that was scanned, screened and split.

    Attributes:
        dataset: What the dataset step listed, without what `Dataset.on_leak` leaves out, which
            its notes name.
        scan: The fingerprint of every image of these.
        split: The split of each sample, by id.
        by_split: The samples of each split, by id, so that the listing order doesn't matter.
        quarantine: What was left out because something is wrong with it.
        labels: What was found in the labels, where they are images.
    """

    dataset: Dataset
    scan: Scan
    split: Splits
    by_split: dict[Split, tuple[Sample, ...]]
    quarantine: tuple[Fault, ...] = ()
    labels: LabelScan | None = None

    @property
    def digest(self) -> str:
        """A fingerprint of the data: the images, and the labels where they are images."""
        return digest_of(self.scan, self.labels)

    def label_statistics(self, split: Split) -> Mapping[str, Any]:
        """What the task measures on the labels of a split; see `TaskStep.measure`.

        Where labels are images, with ``voxel_counts``; see `DataInfo`.
        """
        task, samples = self.dataset.task, self.by_split[split]
        found = task.step.measure([sample.label for sample in samples], task.names)
        if self.labels is None:
            return found
        names = range(len(task.names))
        each = [sum(self.labels.counts[s.id][place] for s in samples) for place in names]
        voxels = sum(math.prod(self.scan.fingerprints[s.id].shape) for s in samples)
        return {**found, "voxel_counts": (max(0, voxels - sum(each)), *each)}


def digest_of(scan: Scan, labels: LabelScan | None) -> str:
    """A fingerprint of images, and of their labels where they are images."""
    if labels is None:
        return scan.digest
    lines = sorted(f"{portable_id(id_)}\0{found}\n" for id_, found in labels.sha256.items())
    return sha256_of("".join([scan.digest, *lines]).encode("utf-8"))


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
    step: str = "",
) -> PreparedData:
    """Scan, screen and split a data set.

    Args:
        dataset: The samples.
        settings: How to divide them.
        workers: How many CPU cores there are.
        ahead: See `scan`.
        bad_data: What to do with faulty samples; see `medpipe.settings.RunSettings`.
        left_out: What an earlier session of the run left out; it stays so.
        unfit: Finds samples that don't fit the others, where such are to be left out.
        fills: Tells whether the chain fills non-finite values; see `data.quality.non_finite`.
        step: The dataset step, for errors; see `data.quality.step_faults.blame`.

    Raises:
        BadDataError: Samples are faulty, and are not to be left out.
        DataError: The samples can't be divided so.
        ChangedError: A split file was made with other data.
    """
    dataset = _without_earlier(dataset, left_out)
    with timed("scanning"):
        screened = screen(dataset, workers=workers, ahead=ahead, fills=fills)
        screened, labels = with_labels(screened, workers=workers)
    found = screened.scan
    dataset, quarantine = choose(screened, bad_data, step)
    if bad_data == "quarantine":
        dataset, more = _without_more(dataset, found, settings, unfit)
        quarantine = (*left_out, *quarantine, *more)
        if quarantine:
            notes = (*dataset.notes, quarantine_note(quarantine))
            dataset = attrs.evolve(dataset, notes=notes)
    with timed("splitting"):
        if settings.file is not None:
            dataset, splits = read_splits(settings.file, dataset, found, settings)
        else:
            if dataset.on_leak == "drop_train":
                dataset = without_leaks(dataset, found, predefined_splits(dataset.samples))
            splits = remembered_splits(dataset.samples, found, settings, dataset.task)
    ordered = sorted(dataset.samples, key=attrgetter("id"))
    placed = [splits.by_id[sample.id] for sample in ordered]
    by_split: dict[Split, tuple[Sample, ...]] = {
        split: tuple(compress(ordered, [given == split for given in placed])) for split in SPLITS
    }
    if not by_split["training"]:
        raise DataError("No sample is left for training. Lower split.validation and split.test.")
    task = dataset.task
    lacking = task.step.training_problem(
        [sample.label for sample in by_split["training"]], task.names
    )
    if lacking is not None:
        raise DataError(lacking)
    kept = Scan(fingerprints=found.of(dataset.samples))
    return PreparedData(
        dataset=dataset,
        scan=kept,
        split=splits,
        by_split=by_split,
        quarantine=quarantine,
        labels=None if labels is None else labels.of(dataset.samples),
    )


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
    """Leave out samples that don't fit the others, and the training side of leaks."""
    more = [] if unfit is None else [fault for fault in unfit(dataset, found) if fault.sample]
    dataset = _without(dataset, more)
    if dataset.on_leak == "error" and settings.file is None:
        leaks = list(leak_faults(dataset, found, predefined_splits(dataset.samples)))
        dataset, more = _without(dataset, leaks), [*more, *leaks]
    return dataset, more


def _without(dataset: Dataset, faults: Sequence[Fault]) -> Dataset:
    if not faults:
        return dataset
    ids = {fault.sample for fault in faults}
    samples = [sample for sample in dataset.samples if sample.id not in ids]
    return attrs.evolve(dataset, samples=samples)
