"""Find the images to predict: files, folders and series."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from medpipe.data.listing.images import find_images
from medpipe.data.listing.walking import FolderListing, file_mode
from medpipe.data.readers.dicom.files import dicom_identities, is_dicom
from medpipe.data.readers.dicom.identity import DicomIdentity
from medpipe.data.readers.reader import UnreadableImageError, source_of
from medpipe.errors import DataError, Fault, MedpipeError
from medpipe.steps import ImageFile, Reading, Series, listing_with

Images = dict[str, ImageFile | tuple[ImageFile, ...]]


@attrs.frozen(kw_only=True, eq=False)
class FoundFiles:
    """The images among some paths.

    Attributes:
        images: By id, in the order given; of a folder in that of their names.
        unreadable: By id, a sentence about each file or folder that can't be looked at.
        identities: By id what the headers of those say that are DICOM.
        notes: Sentences about files that were skipped.
    """

    images: Mapping[str, ImageFile | tuple[ImageFile, ...]]
    unreadable: Mapping[str, str]
    notes: tuple[str, ...] = ()
    identities: Mapping[str, DicomIdentity] = attrs.field(factory=dict)


def find_files(
    paths: ImageFile | Iterable[ImageFile | tuple[ImageFile, ...]],
    *,
    reading: Reading,
    unit: Literal["file", "series"],
    across_folders: bool = True,
) -> FoundFiles:
    """Find images, without reading them; DICOM files are known by their first bytes.

    A file's id is its path as given. A folder is searched as data sets are: at any depth, hidden
    and system names and links to folders are skipped and counted. An image's id is its path below
    the folder, with the folder before it where several paths are given. A `Series`
    and several files in a tuple have the id of the first file.

    Args:
        paths: Files, folders, series, or tuples whose images are stacked as channels.
        reading: How the files are decoded.
        unit: Whether each DICOM file is an image, or each series.
        across_folders: Whether the files of a series may lie in several folders.

    Raises:
        DataError: A folder holds no image, or two images have one id.
    """
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
    unreadable = dict(sorted(listing.unreadable.items()))
    return FoundFiles(
        images=listing.images,
        unreadable=unreadable,
        notes=listing.notes,
        identities=listing.identities,
    )


def sentence_of(error: MedpipeError) -> str:
    """What an error says about a file, in one line that names it."""
    if isinstance(error, UnreadableImageError):
        own = "" if error.remedy == UnreadableImageError.REMEDY else f" {error.remedy}"
        return " ".join(f"{error.path} {error.reason}.{own}".split())
    return " ".join(str(error).split())


class _Listing:
    """Images by id, in the order given, and files that may be images."""

    def __init__(self, *, alone: bool) -> None:
        self.images: Images = {}
        self.folders: list[Path] = []
        self.unreadable: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        self.identities: Mapping[str, DicomIdentity] = {}
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
        # Series and tuples that were given are not looked at when files are listed.
        given = {id_: image for id_, image in self.images.items() if id_ not in found.images}
        several = {id_: one for id_, one in given.items() if isinstance(one, (Series, tuple))}
        first = {id_: path for id_, one in several.items() if (path := source_of(one))}
        self.identities = {**found.identities, **dicom_identities(first, [])}

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
