"""Tell images from other files: by name, else by content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from medpipe.data.listing.names import DICOM_SUFFIXES, IMAGE_SUFFIXES, are_all_images
from medpipe.data.listing.walking import passed_over
from medpipe.data.readers.marks import is_dicom_content
from medpipe.data.readers.unreadable import UnreadableImageError, first_bytes
from medpipe.errors import DataError, Fault
from medpipe.steps import chosen_readers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medpipe.data.listing.walking import FolderListing
    from medpipe.data.readers.dicom.identity import DicomIdentity
    from medpipe.steps import ImageFile

REMEDY = (
    "Write such files again with pydicom.dcmread(path, force=True).save_as(path, "
    "enforce_file_format=True), or remove them."
)
_UNKNOWN = ", so it is unknown whether it is an image"
_NOTHING: Mapping[str, str] = {}


@attrs.frozen(kw_only=True)
class FoundImages:
    """The images among some files.

    Attributes:
        images: By id.
        identities: Patient, study, series and instance of those that are DICOM, from their headers.
        first_of: For each series the id of its first file.
        members: The ids of all files of these series.
        notes: Sentences about what was passed over.
    """

    images: Mapping[str, ImageFile]
    identities: Mapping[str, DicomIdentity] = attrs.field(factory=dict)
    first_of: Mapping[str, str] = _NOTHING
    members: Sequence[str] = ()
    notes: tuple[str, ...] = ()


def find_images(
    listing: FolderListing,
    *,
    suffixes: Sequence[str] | None = None,
    unit: Literal["file", "series"] = "file",
    across_folders: bool = True,
    apart: Callable[[str], object] | None = None,
) -> FoundImages:
    """Tell images from other files, by name or else by content.

    Args:
        listing: The files; its `faults` collect what is wrong with single ones.
        suffixes: Only files whose names end so are looked at, in any case. None: all.
        unit: Whether each DICOM file is an image, or each series.
        across_folders: See `list_dicom`.
        apart: See `list_dicom`.

    Raises:
        DataError: Without `faults`: a link leads nowhere, or a file can't be read, or is damaged,
            or called DICOM without being so.
    """
    wanted = None if suffixes is None else tuple(suffix.lower() for suffix in suffixes)
    faults = listing.faults
    if wanted is None and not listing.broken and are_all_images(listing.files):
        return FoundImages(images=dict(listing.files), notes=listing.notes())  # as almost always
    images: dict[str, ImageFile] = {}
    from medpipe.data.readers.dicom.files import list_dicom
    from medpipe.data.readers.reader import recognises

    readers = chosen_readers()

    dicom: dict[str, str] = {}
    others: list[str] = []
    kinds: list[str] = []
    unmarked: list[str] = []
    for id_, path in listing.files.items():
        name = id_.lower()
        if wanted is not None and not name.endswith(wanted):
            others.append(id_)
        elif id_ in listing.broken:
            message = f"{path} is a link to a file that is not there."
            _refuse(faults, Fault(kind="missing", message=message, sample=id_, path=path))
        elif name.endswith(IMAGE_SUFFIXES):
            images[id_] = path
        else:
            try:
                head = first_bytes(path)
            except UnreadableImageError as error:
                more = "" if name.endswith(DICOM_SUFFIXES) else _UNKNOWN
                message = f"{path} {error.reason}{more}."
                _refuse(faults, Fault(kind=error.kind, message=message, sample=id_, path=path))
                continue
            if is_dicom_content(head):
                dicom[id_] = path
            elif any(recognises(reader, head, name.rpartition("/")[2]) for reader in readers):
                images[id_] = path
            elif name.endswith(DICOM_SUFFIXES):
                unmarked.append(id_)
            elif wanted is not None:  # asked for by its name
                images[id_] = path
            else:
                kinds.append(id_)
    _refuse_unmarked(unmarked, listing)
    notes = [
        passed_over(others, "file", " with other suffixes (dataset.suffixes)"),
        passed_over(kinds, "file", " of other kinds"),
    ]
    found = FoundImages(images=images)
    if dicom:
        headers = list_dicom(
            dicom, unit=unit, faults=faults, across_folders=across_folders, apart=apart
        )
        images.update(headers.images)
        found = FoundImages(
            images=images,
            identities=headers.identities,
            first_of=headers.first_of,
            members=headers.members,
        )
        notes += [passed_over(headers.skipped, "DICOM file", " without pixels"), *headers.notes]
    return attrs.evolve(found, notes=(*filter(None, notes), *listing.notes()))


def _refuse(faults: list[Fault] | None, fault: Fault) -> None:
    if faults is None:
        raise DataError(fault.message)
    faults.append(fault)


def _refuse_unmarked(unmarked: Sequence[str], listing: FolderListing) -> None:
    if not unmarked:
        return
    if listing.faults is None:
        files = f"{len(unmarked):,} file{'s' * (len(unmarked) > 1)}"
        raise DataError(
            f"{files} called DICOM without DICOM's mark (DICM at byte 128), "
            f"{min(unmarked)!r} for one. {REMEDY}"
        )
    for id_ in unmarked:
        path = listing.files[id_]
        message = f"{path} is called DICOM without DICOM's mark (DICM at byte 128)."
        fault = Fault(kind="not_an_image", message=message, sample=id_, path=path, remedy=REMEDY)
        listing.faults.append(fault)
