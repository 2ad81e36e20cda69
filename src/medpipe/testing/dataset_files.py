"""Checks of dataset steps: copies of their files, elsewhere, missing or broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpipe.errors import DataError
from medpipe.steps import DatasetStep
from medpipe.system.raised import described
from medpipe.testing.check import Case, CheckSkipped, FailedError, check, skip
from medpipe.testing.data_folders import (
    by_id,
    contents,
    files_of,
    listed,
    moved,
    paths_of,
    with_paths,
)
from medpipe.testing.datasets import (
    gives_ids_without_folders,
    lists_in_any_order,
    lists_samples,
    lists_the_same_twice,
)
from medpipe.testing.limited import TooLongError, within
from medpipe.testing.watched import difference

if TYPE_CHECKING:
    from medpipe.steps import Dataset, Sample

SECONDS = 20
ABSENT = "a_folder_that_is_not_there"


@check(
    DatasetStep,
    protects="A run is repeated on another machine, where the data lie in another folder.",
    remedy="Make ids, labels, groups and splits of what is below the root, never of its path.",
    needs=[lists_samples, lists_the_same_twice, lists_in_any_order, gives_ids_without_folders],
)
def lists_the_same_elsewhere(case: Case) -> None:
    """A copy of its files in another folder gives the same ids, labels, groups and splits."""
    step = moved(case)
    first, again = listed(case), listed(case, step)
    if other := set(by_id(first)) ^ set(by_id(again)):
        raise FailedError(f"in another folder ids differ, {min(other)!r} for one")
    if changed := difference(_told(first), _told(again)):
        raise FailedError(f"in another folder it gives another {changed}")


@check(
    DatasetStep,
    protects="Data are often mounted for reading alone, and shared.",
    remedy="Write to medpipe.plugin.cache_directory(), or better nothing at all.",
    needs=[lists_samples],
)
def writes_nothing_beside_its_files(case: Case) -> None:
    """Listing changes nothing in the folder of its files."""
    step = moved(case)
    before = contents(case.folder)
    listed(case, step)
    after = contents(case.folder)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise FailedError(f"listing writes, changes or removes {sorted(changed)[0]}")


@check(
    DatasetStep,
    protects="Who misspells a folder must read its name, not a traceback.",
    remedy="Raise medpipe.plugin.DataError with the path where a folder or file is not there.",
    needs=[lists_samples],
)
def names_a_folder_that_is_missing(case: Case) -> None:
    """Where a path leads nowhere, it raises a DataError that names it."""
    paths = paths_of(case.step)
    if not paths:
        raise skip("it has no parameter that is a path to files")
    needed = 0
    for name in paths:
        wrong = case.folder / ABSENT
        try:
            with_paths(case.step, {name: wrong}).build_with_faults()
        except DataError as error:
            if ABSENT not in str(error):
                raise FailedError(f"where {name} is {ABSENT} it says {error}") from error
        except Exception as error:
            raise FailedError(f"where {name} leads nowhere it raises {described(error)}") from error
        else:
            continue
        needed += 1
    if not needed:
        raise skip("it finds its samples where its paths lead nowhere too")


@check(
    DatasetStep,
    protects="One file that is gone must be named, and may be left out (run.bad_data).",
    remedy="List what is there, and give a Fault or a DataError that names what is not.",
    needs=[lists_samples],
)
def names_a_file_that_is_missing(case: Case) -> None:
    """Without the file of one sample it lists the others, or a fault or a DataError names it."""
    step = moved(case)
    before = listed(case, step)
    sample, file = _with_file(before, case.folder)
    file.unlink()
    again = _tried(step, sample, file, "is not there")
    if again is not None:
        _others_are_there(before, again, sample, "is not there")


@check(
    DatasetStep,
    protects="A damaged file is a fault of one sample, not the end of the whole data set.",
    remedy="Leave decoding to the library, and give a Fault for what can't be looked at.",
    needs=[lists_samples],
)
def names_a_file_that_is_broken(case: Case) -> None:
    """With one damaged file it lists the others in good time, or a fault or DataError names it."""
    step = moved(case)
    before = listed(case, step)
    sample, file = _with_file(before, case.folder)
    whole = file.read_bytes()
    for said, content in (("is cut", whole[: len(whole) // 2]), ("holds nonsense", b"\7no" * 99)):
        file.write_bytes(content)
        again = _tried(step, sample, file, said)
        if again is None:
            continue
        _others_are_there(before, again, sample, said)
        silent = again.notes == before.notes and not again.faults
        if sample.id not in by_id(again) and silent:
            raise FailedError(
                f"where {file.name} {said} it leaves {sample.id!r} out without a word"
            )


def _tried(step: DatasetStep, sample: Sample, file: Path, said: str) -> Dataset | None:
    """What the step lists with one wrong file; None where it refuses with a DataError."""
    try:
        found: Any = within(SECONDS, step.build_with_faults)
    except DataError as error:
        if file.name not in str(error) and sample.id not in str(error):
            raise FailedError(f"where {file.name} {said} it says {error}") from error
        return None
    except TooLongError as error:
        raise FailedError(f"where {file.name} {said} it has no end") from error
    except CheckSkipped:
        raise
    except Exception as error:
        raise FailedError(f"where {file.name} {said} it raises {described(error)}") from error
    return found  # type: ignore[no-any-return]


def _others_are_there(before: Dataset, found: Dataset, sample: Sample, said: str) -> None:
    named = {fault.sample for fault in found.faults}
    lacking = {one.id for one in before.samples} - set(by_id(found)) - named - {sample.id}
    if lacking:
        raise FailedError(f"where a file of {sample.id!r} {said} it leaves out {min(lacking)!r}")


def _with_file(dataset: Dataset, folder: Path) -> tuple[Sample, Path]:
    """A sample with a file of its own in a folder."""
    users: dict[str, int] = {}
    for sample in dataset.samples:
        for file in files_of(sample):
            users[file] = users.get(file, 0) + 1
    if len(dataset.samples) < 2:
        raise skip("it lists one sample alone")
    for sample in dataset.samples:
        for file in files_of(sample):
            if users[file] == 1 and Path(file).is_relative_to(folder) and Path(file).is_file():
                return sample, Path(file)
    raise skip("its images are no files of its folder")


def _told(dataset: Dataset) -> dict[str, Any]:
    """What of samples must not depend on the folder; labels that are images have paths."""
    dense = dataset.task.step.dense
    return {
        sample.id: {
            "label": None if dense else sample.label,
            "group": sample.group,
            "split": sample.split,
        }
        for sample in dataset.samples
    }
