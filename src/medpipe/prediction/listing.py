"""Find the images to predict: files, folders and series."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.data.listing.images import find_images
from medpipe.data.listing.walking import FolderListing, file_mode
from medpipe.data.quality.faults import DEFECTS
from medpipe.data.readers.dicom.files import is_dicom
from medpipe.data.readers.reader import UnreadableImageError, source_of
from medpipe.data.scanning.pixel_defects import NOT_FINITE
from medpipe.data.scanning.scan import Fingerprint, fingerprint
from medpipe.distributed.processes import ALONE, Processes
from medpipe.errors import DataError, Fault
from medpipe.steps import ImageFile, Reading, Sample, Series, listing_with
from medpipe.system.progress import track

if TYPE_CHECKING:
    from medpipe.data.quality.non_finite import Fills

Images = dict[str, ImageFile | tuple[ImageFile, ...]]


@attrs.frozen(kw_only=True, eq=False)
class FoundFiles:
    """The images among some paths.

    Attributes:
        images: By id: those that can be read.
        fingerprints: By id.
        unreadable: By id, a sentence about each that can't be read, or is not finite.
        notes: Sentences about files that were skipped.
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
    across_folders: bool = True,
    fills: Fills = lambda *_: "",
    processes: Processes = ALONE,
) -> FoundFiles:
    """Find and read images; of several processes each reads its part.

    A file's id is its path as given. A folder is searched as data sets are: at any depth, hidden
    and system names and links to folders are skipped and counted. An image's id is its path below
    the folder, with the folder before it where several paths are given. A `Series`
    and several files in a tuple have the id of the first file.

    Args:
        paths: Files, folders, series, or tuples whose images are stacked as channels.
        reading: How the files are decoded.
        unit: Whether each DICOM file is an image, or each series.
        workers: How many threads read.
        across_folders: Whether the files of a series may lie in several folders.
        fills: Tells whether the chain fills NaN and infinite values; see `filled_by`.
        processes: Those that predict them.

    Raises:
        DataError: A folder holds no image, or two images have one id.
    """
    listed = processes.share(
        _listed(paths, reading, unit, across_folders=across_folders) if processes.leads else None
    )
    own = list(listed.images)[processes.here.share(len(listed.images))]
    part = _read_all({id_: listed.images[id_] for id_ in own}, reading, workers, fills)
    read = {id_: found for part in processes.gather(part) for id_, found in part.items()}
    failed = {id_: found for id_, found in read.items() if isinstance(found, str)}
    fingerprints = {id_: found for id_, found in read.items() if isinstance(found, Fingerprint)}
    return FoundFiles(
        images={id_: listed.images[id_] for id_ in fingerprints},
        fingerprints=fingerprints,
        unreadable=dict(sorted({**listed.unreadable, **failed}.items())),
        notes=listed.notes,
    )


def _listed(
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    reading: Reading,
    unit: Literal["file", "series"],
    *,
    across_folders: bool,
) -> FoundFiles:
    """The images, without fingerprints: only what can't be looked at is known as unreadable."""
    given = [paths] if isinstance(paths, (str, os.PathLike, Series)) else list(paths)
    if not given:
        raise DataError("There is no file to predict. Name files or folders.")
    listing = _Listing(alone=len(given) == 1)
    for item in given:
        listing.take(item)
    with listing_with(reading.readers):
        listing.resolve(unit, across_folders=across_folders)
    if not listing.images and not listing.unreadable:
        folders = ", ".join(str(folder.absolute()) for folder in listing.folders)
        lines = [
            f"There is no image in {folders}. PNG, JPEG, TIFF, BMP, NIfTI and NumPy files are "
            "found by their names, DICOM files and those of [[reader]] by their content.",
            *listing.notes,
        ]
        raise DataError("\n".join(lines))
    return FoundFiles(
        images=listing.images, fingerprints={}, unreadable=listing.unreadable, notes=listing.notes
    )


class _Listing:
    """Images by id, in the order given, and files that may be images."""

    def __init__(self, *, alone: bool) -> None:
        self.images: Images = {}
        self.folders: list[Path] = []
        self.unreadable: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        self._alone = alone
        self._faults: list[Fault] = []
        self._listing = FolderListing(faults=self._faults)
        self._order: dict[str, None] = {}

    def take(self, item: ImageFile | tuple[ImageFile, ...]) -> None:
        if isinstance(item, tuple):
            if not item:
                raise DataError("An image is an empty tuple. Name at least one file in it.")
            self._add(_first(item[0]), item)
        elif isinstance(item, Series):
            self._add(_first(item), item)
        else:
            path = os.fspath(item)
            try:
                if stat.S_ISDIR(file_mode(path)):
                    self._search(Path(item))
                elif _is_dicom(path):
                    self._add(path, path, self._listing.files)
                else:
                    self._add(path, path)
            except UnreadableImageError as error:
                self.unreadable[path] = f"{error.path} {error.reason}."

    def resolve(self, unit: Literal["file", "series"], *, across_folders: bool) -> None:
        """Find the images among the files, and group the files of a series."""
        found = find_images(self._listing, unit=unit, across_folders=across_folders)
        images: Images = {**self.images, **found.images}
        self.images = {id_: images[id_] for id_ in self._order if id_ in images}
        self.images.update((id_, images[id_]) for id_ in images if id_ not in self.images)
        self.unreadable.update((fault.sample, str(fault)) for fault in self._faults)
        self.notes = found.notes

    def _search(self, folder: Path) -> None:
        self.folders.append(folder)
        inner = attrs.evolve(self._listing, files={})  # its counts and faults are shared
        inner.look_below(os.fspath(folder), "" if self._alone else folder.as_posix())
        for id_, path in inner.files.items():
            self._add(id_, path, self._listing.files)

    def _add(self, id_: str, image: Any, among: dict[str, Any] | None = None) -> None:
        if id_ in self._order:
            raise DataError(f"{id_} is given twice. Name each file, or its folder, once.")
        self._order[id_] = None
        (self.images if among is None else among)[id_] = image


def _is_dicom(path: str) -> bool:
    """Whether a file is DICOM; a missing file is reported when it is read."""
    try:
        return is_dicom(path)
    except UnreadableImageError as error:
        if error.kind == "missing":
            return False
        raise


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
        if found.defect is None or found.defect not in NOT_FINITE:
            return found
        with turn:
            said = fills(sample, reading)
        if said is None:
            return found
        return f"{source_of(images[id_])} {DEFECTS[found.defect]}{', ' * bool(said)}{said}."

    turn = Lock()  # a chain is not thread-safe

    # Few, since each may hold a large volume in memory.
    with ThreadPoolExecutor(max(1, min(workers, 4))) as threads:
        found = threads.map(read, images)
        return dict(
            zip(images, track(found, "Reading images", len(images), unit="images"), strict=True)
        )
