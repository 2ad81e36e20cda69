"""Ways to hold data in a dataset step's classes, and to read files, which type checkers accept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpipe.plugin import (
    DataError,
    Dataset,
    DecodedImage,
    Fault,
    FolderListing,
    LabelImage,
    Reading,
    Sample,
    Series,
    Task,
    bar,
    find_images,
    read_image,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np


def sample_of_a_file(path: Path) -> Sample:
    return Sample(id=path.name, image=path, label=1, group="patient 1", split="test")


def sample_of_several_series() -> Sample:
    series = (Series(files=("1.dcm",)), Series(files=("2.dcm",)))
    return Sample(id="study", image=series, label=(0.0, 1.0), extra={"age": 61})


def sample_in_memory(values: np.ndarray[Any, Any]) -> Sample:
    image = DecodedImage(values=values, spacing=(1.0, 1.0), spacing_of="patient")
    return Sample(id="drawn", image=image, label=2.5)


def sample_with_a_mask(path: Path) -> Sample:
    mask = LabelImage(image="mask.png", values=((0, ()), (255, (0,))), on_mismatch="resample")
    return Sample(id="masked", image=path, label=mask)


def regression_of_a_generator(paths: list[Path]) -> Dataset:
    def listed() -> Iterator[Sample]:
        for path in paths:
            yield Sample(id=path.name, image=path, label=1.5)

    task = Task(kind="regression", names=("age",), unit="years")
    return Dataset(samples=listed(), task=task, on_leak="drop_train")


def reading_of_dicom_files() -> Reading:
    return Reading(channels=1, window=(40.0, 400.0), frames="volume", missing_spacing="unknown")


def faults_beside_samples(samples: list[Sample]) -> Dataset:
    fault = Fault(kind="missing", message="b.png is not there.", sample="b", path="b.png")
    return Dataset(samples=samples, task=Task(names=("no", "yes")), faults=[fault])


def axes_of_a_file(path: Path) -> int:
    decoded: DecodedImage = read_image(path, Reading(channels=3))
    return decoded.values.ndim


def files_of_a_folder(folder: Path) -> list[str]:
    listing = FolderListing()
    listing.look_below(str(folder))
    found = find_images(listing, unit="series")
    if not found.images:
        raise DataError(f"There is no image in {folder}. Name another folder.")
    return sorted(found.images)


def progress_of_a_step(paths: list[Path]) -> int:
    size = 0
    with bar("Reading", len(paths), unit="files") as shown:
        for path in paths:
            size += path.stat().st_size
            shown.advance()
    return size
