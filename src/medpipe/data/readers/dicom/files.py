"""List DICOM files: which are DICOM, which hold pixels, which are one series."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.data.readers.dicom.identity import (
    TAGS,
    DicomIdentity,
    identity_of,
    series_faults,
    without_copies,
)
from medpipe.data.readers.marks import is_dicom_content
from medpipe.data.readers.quiet import quiet_decoders
from medpipe.data.readers.unreadable import UnreadableImageError, first_bytes
from medpipe.errors import DataError, Fault, FaultKind
from medpipe.steps import ImageFile, Series
from medpipe.system.progress import bar
from medpipe.system.resource_errors import limit_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, double float and integer pixel data: the elements that make a file an image."""
CHUNK = 64
"""Files in one task of a thread."""
THREADS = 8
"""Headers are short: threads wait for the disk or the network, and more of them don't help."""
NAMED = 10
"""How many broken files an error names."""


@attrs.frozen(kw_only=True)
class DicomListing:
    """The images among some DICOM files.

    Attributes:
        images: By id, in the order of the ids: a path, or a `Series`.
        skipped: The ids of files that hold no pixels, such as reports, plans and DICOMDIR.
        identities: What the header of each image says; see `DicomIdentity`.
        first_of: For each series the id of its first file.
        members: The ids of all files of the series, copies too.
        notes: Sentences about files that are copies of one another, or contradict each other.
    """

    images: Mapping[str, ImageFile]
    skipped: tuple[str, ...] = ()
    identities: Mapping[str, DicomIdentity] = attrs.field(factory=dict)
    first_of: Mapping[str, str] = attrs.field(factory=dict)
    members: Sequence[str] = ()
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class _Header:
    has_pixels: bool
    identity: DicomIdentity


@attrs.frozen
class _Broken:
    """What is wrong with a file, as the end of a sentence."""

    reason: str
    kind: FaultKind = "damaged"


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the mark of DICOM, whatever its name; a folder has none.

    Files of before 1993 have no such mark. They are not taken for DICOM; pydicom's
    ``dcmread(path, force=True).save_as(new_path, enforce_file_format=True)`` adds it.

    Raises:
        DataError: The file does not exist or can't be read.
    """
    return is_dicom_content(first_bytes(path))


def _cause(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split()).rstrip(".").lower()


def list_dicom(
    files: Mapping[str, str],
    *,
    unit: Literal["file", "series"],
    faults: list[Fault] | None = None,
    across_folders: bool = True,
    apart: Callable[[str], object] | None = None,
) -> DicomListing:
    """Find the images among DICOM files by their headers; no pixels are read.

    Args:
        files: Path by id: for a file the path below the data set's root, with ``/`` between
            folders.
        unit: ``"file"``: each file with pixels is an image, under its own id. ``"series"``: the
            files that have one SeriesInstanceUID are an image, under the id
            ``folder/SeriesInstanceUID`` with the folder that holds them all. Of files of one
            SOPInstanceUID and one content one is taken.
        faults: Collects what is wrong with single files and series, which are then left out.
            None: raise an error instead.
        across_folders: Whether the files of a series may lie in several folders. False: those in
            one folder are a series, for data whose UIDs are not to be trusted.
        apart: Returns for a file's id what all files of a series must have in common, such as its
            class. None: nothing.

    Raises:
        DataError: Files are no DICOM, can't be read, are damaged, of an image kind without pixels
            or, for ``"series"``, without a SeriesInstanceUID; or a series is of two patients, of
            two classes, or holds two contents under one SOPInstanceUID. It names the first ten.
    """
    headers, broken = _read_headers(files)
    if unit == "series":
        broken.update(
            (id_, _Broken('has no SeriesInstanceUID. Set dataset.unit = "file"'))
            for id_, header in headers.items()
            if header.has_pixels and not header.identity.series
        )
    if broken and faults is None:
        raise DataError(_broken_text(files, broken))
    for id_, wrong in sorted(broken.items()):
        headers.pop(id_, None)
        if faults is not None:
            message = f"{files[id_]} {wrong.reason}."
            faults.append(Fault(kind=wrong.kind, message=message, sample=id_, path=files[id_]))
    skipped = tuple(sorted(id_ for id_, header in headers.items() if not header.has_pixels))
    found = {id_: headers[id_].identity for id_ in sorted(headers) if headers[id_].has_pixels}
    if unit == "file":
        return DicomListing(
            images={id_: files[id_] for id_ in found},
            skipped=skipped,
            identities=found,
            notes=without_copies(files, {}, found).notes,
        )
    place = {
        id_: ("" if across_folders else id_.rpartition("/")[0], identity.series or "")
        for id_, identity in found.items()
    }
    known = without_copies(files, place, found)
    members: dict[tuple[str, str], list[str]] = {}
    for id_ in known.ids:
        members.setdefault(place[id_], []).append(id_)
    groups = dict(sorted((_series_id(ids, uid), ids) for (_, uid), ids in members.items()))
    wrong_ones = series_faults(groups, files, found, known.conflicts, apart, trusted=across_folders)
    if wrong_ones and faults is None:
        raise DataError("\n".join([*(str(one) for one in wrong_ones[:NAMED])]))
    for one in wrong_ones:
        del groups[one.sample]
    if faults is not None:
        faults += wrong_ones
    return DicomListing(
        images={id_: Series(files=[files[i] for i in ids]) for id_, ids in groups.items()},
        skipped=skipped,
        identities={id_: found[ids[0]] for id_, ids in groups.items()},
        members=tuple(found),
        first_of={id_: ids[0] for id_, ids in groups.items()},
        notes=known.notes,
    )


def dicom_identities(files: Mapping[str, str], faults: list[Fault]) -> dict[str, DicomIdentity]:
    """What the headers of those files say that are DICOM, by id.

    Args:
        files: Path by id.
        faults: Collects the files that can't be read, whose patients are unknown. What else is
            wrong with a file is reported when its pixels are read.
    """
    dicom: dict[str, str] = {}
    for id_, path in files.items():
        try:
            if is_dicom(path):
                dicom[id_] = path
        except UnreadableImageError as error:
            message = f"{path} {error.reason}."
            faults.append(Fault(kind=error.kind, message=message, sample=id_, path=path))
    headers, broken = _read_headers(dicom)
    faults += [
        Fault(kind=wrong.kind, message=f"{files[id_]} {wrong.reason}.", sample=id_, path=files[id_])
        for id_, wrong in sorted(broken.items())
        if wrong.kind in ("unreadable", "missing")
    ]
    return {id_: header.identity for id_, header in headers.items()}


def _series_id(ids: Sequence[str], uid: str) -> str:
    """The folder that holds all files, and the UID."""
    shared = ids[0].split("/")[:-1]
    for id_ in ids[1:]:
        pairs = zip(shared, id_.split("/")[:-1], strict=False)
        shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return "/".join([*shared, uid])


def _read_headers(files: Mapping[str, str]) -> tuple[dict[str, _Header], dict[str, _Broken]]:
    """The header of each file by id, and what is wrong with those that have none."""

    def read(ids: Sequence[str]) -> list[_Header | _Broken]:
        return [_header(files[id_]) for id_ in ids]

    ids = sorted(files)
    headers: dict[str, _Header] = {}
    broken: dict[str, _Broken] = {}
    quiet_decoders()
    if not ids:
        return headers, broken
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    with (
        bar("Reading DICOM headers", len(ids), unit="files") as shown,
        ThreadPoolExecutor(min(THREADS, len(chunks))) as threads,
    ):
        tasks: list[Future[list[_Header | _Broken]]] = [threads.submit(read, c) for c in chunks]
        try:
            for chunk, task in zip(chunks, tasks, strict=True):
                for id_, result in zip(chunk, task.result(), strict=True):
                    if isinstance(result, _Broken):
                        broken[id_] = result
                    else:
                        headers[id_] = result
                shown.advance(len(chunk))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return headers, broken


def _header(path: str) -> _Header | _Broken:
    """What the header says, or what is wrong with the file."""
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_partial

    found: list[int] = []

    def at_pixels(tag: Any, _vr: str | None, _length: int) -> bool:
        if tag in PIXEL_TAGS:
            found.append(tag)
        return bool(found)

    try:
        with open(path, "rb") as file:  # noqa: PTH123
            dataset = read_partial(file, stop_when=at_pixels, specific_tags=list(TAGS))
        kind = dataset.file_meta.get("MediaStorageSOPClassUID")
    except FileNotFoundError:
        return _Broken("is not there", "missing")
    except InvalidDicomError:
        return _Broken("is not a DICOM file")
    except Exception as error:  # a damaged file can make the reader fail in any way
        limit = limit_of(error)
        if limit is not None:  # nothing is wrong with the file
            raise limit from error
        unreadable = isinstance(error, OSError) and error.errno is not None
        reason = f"can't be read: {_cause(error)}"
        return _Broken(reason, "unreadable" if unreadable else "damaged")
    if not found and kind and kind.name.endswith("Image Storage"):
        # pydicom doesn't say where a file ends too early.
        return _Broken(f"is of the kind {kind.name} but has no pixels: it may be cut off")
    return _Header(has_pixels=bool(found), identity=identity_of(dataset))


def _broken_text(files: Mapping[str, str], broken: Mapping[str, _Broken]) -> str:
    lines = [f"{len(broken)} of {len(files)} DICOM files can't be used:"]
    lines += [f"  {files[id_]} {wrong.reason}." for id_, wrong in sorted(broken.items())[:NAMED]]
    if len(broken) > NAMED:
        lines.append(f"  and {len(broken) - NAMED} more.")
    lines.append("Remove or repair them.")
    return "\n".join(lines)
