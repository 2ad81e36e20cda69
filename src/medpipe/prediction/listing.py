"""Which images a command line means: files, folders and series, each read once beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.data.decoding.dicom_files import is_dicom, list_dicom
from medpipe.data.faults import FLAWS
from medpipe.data.flaws import NOT_FINITE
from medpipe.data.reading import UnreadableImageError, source_of
from medpipe.data.scan import Fingerprint, fingerprint
from medpipe.errors import DataError
from medpipe.progress import track
from medpipe.steps import ImageFile, Reading, Sample, Series

if TYPE_CHECKING:
    from medpipe.data.filling import Fills

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nii", ".nii.gz")
"""Images that are known by their names in a folder; DICOM files are known by their content."""

Images = dict[str, ImageFile | tuple[ImageFile, ...]]


@attrs.frozen(kw_only=True, eq=False)
class FoundFiles:
    """The images among some paths.

    Attributes:
        images: By id: those that can be read.
        fingerprints: By id.
        unreadable: By id, a sentence about each that can't be read, or is not finite.
        notes: Sentences about what was passed over.
    """

    images: Mapping[str, ImageFile | tuple[ImageFile, ...]]
    fingerprints: Mapping[str, Fingerprint]
    unreadable: Mapping[str, str]
    notes: tuple[str, ...] = ()


def find_files(
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    *,
    reading: Reading,
    unit: Literal["file", "series"],
    workers: int,
    fills: Fills = lambda *_: "",
) -> FoundFiles:
    """Find and read images.

    A file's id is its path as given. A folder is searched at any depth, hidden names left aside;
    an image's id is its path below the folder, with the folder before it where several paths are
    given. A `Series` and several files in a tuple have the id of the first file.

    Args:
        paths: Files, folders, series, or tuples whose images are stacked as channels.
        reading: How the files are decoded.
        unit: Whether each DICOM file is an image, or each series in a folder.
        workers: How many threads read.
        fills: Says of images that are not finite whether they leave the chain so.

    Raises:
        DataError: A folder holds no image, or two images have one id.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike, Series)) else list(paths)
    if not given:
        raise DataError("There is no file to predict. Name files or folders.")
    listing = _Listing(alone=len(given) == 1)
    for item in given:
        listing.take(item)
    unreadable = listing.resolve_dicom(unit)
    if not listing.images and not unreadable:
        raise DataError(
            f"There is no image in {', '.join(str(folder) for folder in listing.folders)}. PNG, "
            "JPEG, TIFF, BMP and NIfTI files are known by their names there, DICOM files by their "
            "content."
        )
    read = _read_all(listing.images, reading, workers, fills)
    unreadable |= {id_: found for id_, found in read.items() if isinstance(found, str)}
    fingerprints = {id_: found for id_, found in read.items() if isinstance(found, Fingerprint)}
    return FoundFiles(
        images={id_: listing.images[id_] for id_ in fingerprints},
        fingerprints=fingerprints,
        unreadable=dict(sorted(unreadable.items())),
        notes=listing.notes(),
    )


class _Listing:
    """Images by id, in the order in which they are given, and DICOM files yet to be looked at."""

    def __init__(self, *, alone: bool) -> None:
        self.images: Images = {}
        self.folders: list[Path] = []
        self._alone = alone
        self._dicom: dict[str, str] = {}
        self._passed: list[str] = []
        self._without_pixels: tuple[str, ...] = ()

    def take(self, item: ImageFile | tuple[ImageFile, ...]) -> None:
        if isinstance(item, tuple):
            if not item:
                raise DataError("An image of several files names none. Give it at least one.")
            self._add(_first(item[0]), item)
        elif isinstance(item, Series):
            self._add(_first(item), item)
        elif Path(item).is_dir():
            self._search(Path(item))
        elif is_dicom(item):
            self._add(os.fspath(item), os.fspath(item), self._dicom)
        else:
            self._add(os.fspath(item), os.fspath(item))

    def resolve_dicom(self, unit: Literal["file", "series"]) -> dict[str, str]:
        """Take images and series from the DICOM files; give those that can't be read."""
        if not self._dicom:
            return {}
        broken: dict[str, str] = {}
        try:
            found = list_dicom(self._dicom, unit=unit)
        except DataError:
            # One file at a time, to learn which.
            for id_, path in self._dicom.items():
                try:
                    list_dicom({id_: path}, unit=unit)
                except DataError as error:
                    broken[id_] = str(error).splitlines()[1].strip()
            whole = {id_: path for id_, path in self._dicom.items() if id_ not in broken}
            found = list_dicom(whole, unit=unit)
        for id_, image in found.images.items():
            self._add(id_, image)
        self._without_pixels = found.skipped
        return broken

    def notes(self) -> tuple[str, ...]:
        """What was passed over."""
        some = []
        for ids, what in (
            (self._passed, "that are no images"),
            (self._without_pixels, "of DICOM without pixels"),
        ):
            if ids:
                more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
                some.append(f"Files {what} were passed over: {ids[0]!r}{more}.")
        return tuple(some)

    def _search(self, folder: Path) -> None:
        self.folders.append(folder)
        before = "" if self._alone else f"{folder.as_posix()}/"
        for path in sorted(folder.rglob("*")):
            below = path.relative_to(folder)
            if any(p.startswith(".") or p == "__MACOSX" for p in below.parts) or path.is_dir():
                continue
            id_ = f"{before}{below.as_posix()}"
            if path.name.lower().endswith(SUFFIXES):
                self._add(id_, os.fspath(path))
            elif is_dicom(path):
                self._add(id_, os.fspath(path), self._dicom)
            else:
                self._passed.append(id_)

    def _add(self, id_: str, image: Any, among: dict[str, Any] | None = None) -> None:
        if id_ in self.images or (among is self._dicom and id_ in self._dicom):
            raise DataError(f"{id_} is given twice. Name each file, or its folder, once.")
        (self.images if among is None else among)[id_] = image


def _first(image: ImageFile) -> str:
    return image.files[0] if isinstance(image, Series) else os.fspath(image)


def _read_all(
    images: Images, reading: Reading, workers: int, fills: Fills
) -> dict[str, Fingerprint | str]:
    """For each image its fingerprint, or a sentence about why it can't be predicted."""

    def read(id_: str) -> Fingerprint | str:
        sample = Sample(id=id_, image=images[id_], label=0)
        try:
            found = fingerprint(sample, reading)
        except UnreadableImageError as error:
            own = "" if error.remedy == UnreadableImageError.REMEDY else f" {error.remedy}"
            return f"{error.path} {error.reason}.{own}"
        except DataError as error:
            return str(error)
        if found.flaw is None or found.flaw not in NOT_FINITE:
            return found
        with turn:
            said = fills(sample, reading)
        if said is None:
            return found
        return f"{source_of(images[id_])} {FLAWS[found.flaw]}{', ' * bool(said)}{said}."

    turn = Lock()  # a chain is for one thread

    # Few, since each may hold a large volume in memory.
    with ThreadPoolExecutor(max(1, min(workers, 4))) as threads:
        found = threads.map(read, images)
        return dict(
            zip(images, track(found, "Reading images", len(images), unit="images"), strict=True)
        )
