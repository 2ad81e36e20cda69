"""Checks of dataset steps: what they list."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from pathlib import Path

from medpipe.data.ids import odd_ids
from medpipe.data.readers.labels import read_label
from medpipe.data.readers.reader import read_sample_image
from medpipe.errors import DataError
from medpipe.steps import SPLITS, DatasetStep, LabelImage, Sample, Task
from medpipe.system.raised import described
from medpipe.system.text import visible
from medpipe.testing.check import Case, FailedError, check, skip
from medpipe.testing.data_folders import (
    MOST_BYTES,
    by_id,
    decodings,
    few,
    files_of,
    folders_listed,
    listed,
    paths_of,
    reading_of,
)
from medpipe.testing.use import Use, typical
from medpipe.testing.watched import difference

RESERVED = ("image", "label", "id", "reading")
"""What samples have already, and no extra column may be called."""
COPIES = 400
"""The samples whose files are compared."""


@check(
    DatasetStep,
    protects="A run has nothing to train on.",
    remedy="Mend what it says. Return Dataset(samples=[Sample(...), ...], task=Task(...)) from "
    "build; where it reads files, write a few small ones in examples(cls, folder).",
)
def lists_samples(case: Case) -> None:
    """It lists samples and their task."""
    dataset = listed(case)
    if not dataset.samples:
        raise FailedError("it lists no samples")
    wrong = [one for one in dataset.samples if not isinstance(one, Sample)]
    if wrong or not isinstance(dataset.task, Task):
        raise FailedError(f"it lists {wrong[:1] or dataset.task!r:.80}, not samples and a Task")


@check(
    DatasetStep,
    protects="Splits, the cache, checkpoints and resuming take a data set for the same each time.",
    remedy="Draw nothing, or from a generator with a seed that is a parameter; ask no clock.",
    needs=[lists_samples],
)
def lists_the_same_twice(case: Case) -> None:
    """Built again it lists the same samples in the same order."""
    first, again = listed(case), listed(case)
    if [sample.id for sample in first.samples] != [sample.id for sample in again.samples]:
        raise FailedError("built again it lists other ids, or in another order")
    if changed := difference(by_id(first), by_id(again)):
        raise FailedError(f"built again it gives another {changed}")


@check(
    DatasetStep,
    protects="File systems list folders in any order: labels and ids must be the same in all.",
    remedy="Sort what os.scandir, os.listdir and glob give, and number nothing by its place.",
    needs=[lists_samples, lists_the_same_twice],
)
def lists_in_any_order(case: Case) -> None:
    """Where folders are listed backwards, each id has the same image, label, group and split."""
    with folders_listed(backwards=False):
        first = listed(case)
    with folders_listed(backwards=True):
        again = listed(case)
    if first.task.names != again.task.names:
        raise FailedError(f"its task has the names {first.task.names} or {again.task.names}")
    if other := set(by_id(first)) ^ set(by_id(again)):
        raise FailedError(f"the order of files in a folder changes ids, {min(other)!r} for one")
    if changed := difference(by_id(first), by_id(again)):
        raise FailedError(f"the order of files in a folder changes {changed}")


@check(
    DatasetStep,
    protects="What 'medpipe check' lists as faults is what the step's build raises or lists.",
    remedy="Write build and build_with_faults from the same lines.",
    needs=[lists_samples, lists_the_same_twice],
)
def lists_the_same_with_faults(case: Case) -> None:
    """Where nothing is wrong, build and build_with_faults list the same."""
    dataset = listed(case)
    if dataset.faults:
        raise FailedError(f"something is wrong with its example: {dataset.faults[0]}")
    found = case.step.build()
    if difference(by_id(dataset), by_id(found)) or dataset.task != found.task:
        raise FailedError("build and build_with_faults list different samples, or another task")


@check(
    DatasetStep,
    protects="Predictions, splits and quarantine know a sample by its id alone.",
    remedy="Make ids of the path below the root, or of what the table names.",
    needs=[lists_samples],
)
def gives_unique_ids(case: Case) -> None:
    """Each id is text, visible, and that of one sample."""
    dataset = listed(case)
    if odd := [sample.id for sample in dataset.samples if not isinstance(sample.id, str)]:
        raise FailedError(f"the id {odd[0]!r} is no text")
    twice, not_text = odd_ids(dataset.samples)
    if not_text:
        raise FailedError(f"the id {not_text[0]!r} is empty, or no valid Unicode")
    if twice:
        raise FailedError(f"several samples have the id {min(twice)!r}, or one that looks like it")


@check(
    DatasetStep,
    protects="Splits and predictions of one machine are read on another, with another folder.",
    remedy="Take path.relative_to(root).as_posix() in place of the whole path.",
    needs=[lists_samples, gives_unique_ids],
)
def gives_ids_without_folders(case: Case) -> None:
    """No id is an absolute path, has a backslash, or holds the folder of the data."""
    roots = [str(path.absolute()) for path in paths_of(case.step).values()]
    for sample in listed(case).samples:
        absolute = os.path.isabs(sample.id) or re.match(r"[A-Za-z]:", sample.id)  # noqa: PTH117
        if absolute or "\\" in sample.id or any(root in sample.id for root in roots):
            raise FailedError(f"the id {sample.id!r} depends on the machine")


@check(
    DatasetStep,
    protects="Reports, predictions and matching by name show and compare the names.",
    remedy="Name each class, finding or structure once, as text, and as many as the task needs.",
    needs=[lists_samples],
)
def names_what_labels_mean(case: Case) -> None:
    """The task's names are texts, differ, and are as many as the task needs."""
    task = listed(case).task
    if wrong := task.step.names_problem(task.names):
        raise FailedError(wrong.rstrip("."))
    if not all(isinstance(name, str) and visible(name) for name in task.names):
        raise FailedError(f"the names {task.names} are no visible texts")
    if len(set(map(visible, task.names))) < len(task.names):
        raise FailedError(f"the names {task.names} look the same")


@check(
    DatasetStep,
    protects="A label that the task doesn't have stops the run, or trains a wrong class.",
    remedy="Give labels as the task wants them: for classes the place of the name, from 0.",
    needs=[lists_samples, names_what_labels_mean],
)
def gives_labels_of_its_task(case: Case) -> None:
    """Each label is one that the task has."""
    dataset = listed(case)
    for sample in dataset.samples:
        if wrong := dataset.task.step.label_problem(sample.label, dataset.task.names):
            raise FailedError(f"the sample {sample.id!r} has the label {sample.label!r:.60}{wrong}")


@check(
    DatasetStep,
    protects="Groups keep a patient's images in one split, and are compared as text.",
    remedy="Give Sample(group=...) the patient as text, or None where it is unknown.",
    needs=[lists_samples],
)
def gives_groups_as_text(case: Case) -> None:
    """Each group is text or None."""
    for sample in listed(case).samples:
        if not isinstance(sample.group, str | None):
            raise FailedError(f"the sample {sample.id!r} has the group {sample.group!r}")


@check(
    DatasetStep,
    protects="The same image in two groups may be in training and in test: a leak.",
    remedy="Make groups of what tells the patient, never of the place in a list.",
    needs=[lists_samples, gives_groups_as_text],
)
def keeps_copies_in_one_group(case: Case) -> None:
    """The same file, or files with the same bytes, are never in two groups."""
    dataset = listed(case)
    first: dict[tuple[str, ...], Sample] = {}
    read = 0
    for sample in dataset.samples[:COPIES]:
        files = files_of(sample)
        if sample.group is None or not files or not all(map(os.path.isfile, files)):
            continue
        read += sum(map(os.path.getsize, files))
        if read > MOST_BYTES:
            break
        key = tuple(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files)
        other = first.setdefault(key, sample)
        if other.group != sample.group and _shows_something(case, sample):
            raise FailedError(
                f"{other.id!r} and {sample.id!r} are the same image, in the groups "
                f"{other.group!r} and {sample.group!r}"
            )


@check(
    DatasetStep,
    protects="The library knows three splits, and chooses where a sample has none.",
    remedy=f"Give Sample(split=...) one of {', '.join(SPLITS)}, or None.",
    needs=[lists_samples],
)
def gives_splits_that_are_known(case: Case) -> None:
    """Each split is training, validation, test, or None."""
    for sample in listed(case).samples:
        if sample.split is not None and sample.split not in SPLITS:
            raise FailedError(f"the sample {sample.id!r} has the split {sample.split!r}")


@check(
    DatasetStep,
    protects="Extra columns go into batches, subgroups and CSV files of predictions.",
    remedy="Give numbers, texts or tuples of these, under names that are no keys of samples.",
    needs=[lists_samples],
)
def gives_plain_columns(case: Case) -> None:
    """Extra columns have names of their own, and numbers, texts or None."""
    for sample in listed(case).samples:
        for name, value in sample.extra.items():
            if not isinstance(name, str) or name in RESERVED:
                raise FailedError(f"the sample {sample.id!r} has an extra column {name!r}")
            values = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(one, str | int | float | None) for one in values):
                raise FailedError(
                    f"the extra column {name!r} of {sample.id!r} holds {type(value).__name__}"
                )


@check(
    DatasetStep,
    protects="What is listed and not there fails in the middle of a run.",
    remedy="List what is found; of what a table names, give a Fault for a file that is absent.",
    needs=[lists_samples],
)
def lists_files_that_exist(case: Case) -> None:
    """The files of images and masks are there."""
    for sample in listed(case).samples:
        for file in files_of(sample, label=True):
            if not Path(file).exists():
                raise FailedError(f"the sample {sample.id!r} has the file {file}, which is absent")


@check(
    DatasetStep,
    protects="The scan, training and prediction read files as the data set's reading says.",
    remedy="Say in Dataset(reading=Reading(...)) how values are read, without readers: those are "
    "chosen in the configuration. For formats of your own offer a reader step.",
    needs=[lists_samples, lists_files_that_exist],
)
def lists_images_that_can_be_read(case: Case) -> None:
    """The library's readers decode its images, as its reading says."""
    dataset = listed(case)
    if dataset.reading.readers:
        raise FailedError("its Reading has readers, and those of the configuration decide")
    reading = reading_of(case, dataset)
    for sample in few(dataset):
        try:
            read_sample_image(sample.image, reading)
        except DataError as error:
            raise FailedError(f"the image of {sample.id!r} can't be read: {error}") from error


@check(
    DatasetStep,
    protects="A mask on another grid, or with values that are not named, trains nonsense.",
    remedy="Say in LabelImage(values=...) what values mean, and pair masks with their own images.",
    needs=[lists_samples, lists_files_that_exist, lists_images_that_can_be_read],
)
def lists_masks_that_fit(case: Case) -> None:
    """Labels that are images can be read, and lie on the grids of their images."""
    dataset = listed(case)
    reading = reading_of(case, dataset)
    masks = [sample for sample in few(dataset) if isinstance(sample.label, LabelImage)]
    if not masks:
        raise skip("its labels are no images")
    for sample in masks:
        image = read_sample_image(sample.image, reading)
        try:
            read_label(sample.label, image, reading)  # type: ignore[arg-type]  # see above
        except DataError as error:
            raise FailedError(f"the mask of {sample.id!r} does not fit: {error}") from error


@check(
    DatasetStep,
    protects="Listing begins every command: an image is read once, by the scan.",
    remedy="Go by names and headers, and leave pixels to the library.",
    needs=[lists_samples],
)
def lists_without_decoding(case: Case) -> None:
    """It decodes no images to list them."""
    if not any(files_of(sample) for sample in listed(case).samples):
        raise skip("its images are no files")
    with decodings() as called:
        count = len(listed(case).samples)
    if len(called) >= count:
        raise FailedError(f"to list {count} samples it decodes {len(called)} images ({called[0]})")


@check(
    DatasetStep,
    protects="Loaders' worker processes get the samples by pickle.",
    remedy="Put paths, numbers and texts into samples, no open files or functions.",
    needs=[lists_samples],
)
def lists_what_can_be_pickled(case: Case) -> None:
    """Samples and their task are the same after pickle."""
    dataset = listed(case)
    try:
        again = pickle.loads(pickle.dumps((by_id(dataset), dataset.task)))
    except Exception as error:
        raise FailedError(f"its samples can't be pickled: {described(error)}") from error
    if difference(by_id(dataset), again[0]) or again[1] != dataset.task:
        raise FailedError("its samples, or its task, are others after pickle")


@typical("dataset", found_by=lists_samples)
def _use(case: Case) -> Use:
    return Use(given=None, call=lambda: listed(case))


def _shows_something(case: Case, sample: Sample) -> bool:
    """Whether an image has more than one value: blank ones are alike, whoever they are of."""
    try:
        values = read_sample_image(sample.image, reading_of(case, listed(case))).values
    except DataError:
        return False
    return bool(values.min() < values.max())
