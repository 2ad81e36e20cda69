"""Which files are DICOM, which of them hold pixels, and which belong to one series."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.data.decoding.quiet import quiet_decoders
from medpipe.errors import DataError, Fault
from medpipe.progress import bar
from medpipe.steps import ImageFile, Series

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

MARK = b"DICM"
"""What DICOM files have after a preamble of 128 bytes."""
PREAMBLE = 128
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, double float and integer pixel data: the elements that make a file an image."""
SERIES_TAG = 0x0020000E
CHUNK = 64
"""Files in one task of a thread."""
THREADS = 8
"""Headers are short: the wait is for the disk or the network, and more doesn't help."""
NAMED = 10
"""How many broken files an error names."""


@attrs.frozen(kw_only=True)
class DicomListing:
    """The images among some DICOM files.

    Attributes:
        images: By id, in the order of the ids: a path, or a `Series`.
        skipped: The ids of files that hold no pixels, such as reports, plans and DICOMDIR.
    """

    images: Mapping[str, ImageFile]
    skipped: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class _Header:
    has_pixels: bool
    series: str | None


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the mark of DICOM, whatever its name; False where it can't be read.

    Files of before 1993 have no such mark. They are not taken for DICOM; pydicom's
    ``dcmread(path, force=True).save_as(new_path, enforce_file_format=True)`` adds it.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (thousands of them: pathlib costs more)
            return has_mark(file.read(PREAMBLE + len(MARK)))
    except (OSError, ValueError):
        return False


def has_mark(content: bytes) -> bool:
    """Whether a file that begins so is DICOM."""
    return content[PREAMBLE : PREAMBLE + len(MARK)] == MARK


def list_dicom(
    files: Mapping[str, str],
    *,
    unit: Literal["file", "series"],
    faults: list[Fault] | None = None,
) -> DicomListing:
    """Find the images among DICOM files by their headers; no pixels are read.

    Args:
        files: Path by id: for a file the path below the data set's root, with ``/`` between
            folders.
        unit: ``"file"``: each file with pixels is an image, under its own id. ``"series"``: the
            files of one folder that have one SeriesInstanceUID are an image, under the id
            ``folder/SeriesInstanceUID``.
        faults: Gets what is wrong with single files, which are then left out. None: that is an
            error.

    Raises:
        DataError: Files are no DICOM, damaged, of an image kind without pixels or, for
            ``"series"``, without a SeriesInstanceUID; it names the first ten.
    """
    headers, broken = _read_headers(files)
    if unit == "series":
        broken.update(
            (id_, 'has no SeriesInstanceUID. Set dataset.unit = "file"')
            for id_, header in headers.items()
            if header.has_pixels and not header.series
        )
    if broken and faults is None:
        raise DataError(_broken_text(files, broken))
    for id_, reason in sorted(broken.items()):
        headers.pop(id_, None)
        if faults is not None:
            message = f"{files[id_]} {reason}."
            faults.append(Fault(kind="damaged", message=message, sample=id_, path=files[id_]))
    skipped = tuple(sorted(id_ for id_, header in headers.items() if not header.has_pixels))
    with_pixels = sorted(id_ for id_, header in headers.items() if header.has_pixels)
    if unit == "file":
        return DicomListing(images={id_: files[id_] for id_ in with_pixels}, skipped=skipped)
    groups: dict[str, list[str]] = {}
    for id_ in with_pixels:
        folder = id_.rpartition("/")[0]
        series = headers[id_].series or ""
        groups.setdefault(f"{folder}/{series}" if folder else series, []).append(files[id_])
    images = {id_: Series(files=paths) for id_, paths in sorted(groups.items())}
    return DicomListing(images=images, skipped=skipped)


def _read_headers(files: Mapping[str, str]) -> tuple[dict[str, _Header], dict[str, str]]:
    """The header of each file by id, and what is wrong with those that have none."""

    def read(ids: Sequence[str]) -> list[_Header | str]:
        return [_header(files[id_]) for id_ in ids]

    ids = sorted(files)
    headers: dict[str, _Header] = {}
    broken: dict[str, str] = {}
    quiet_decoders()
    if not ids:
        return headers, broken
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    with (
        bar("Reading DICOM headers", len(ids), unit="files") as shown,
        ThreadPoolExecutor(min(THREADS, len(chunks))) as threads,
    ):
        tasks: list[Future[list[_Header | str]]] = [threads.submit(read, c) for c in chunks]
        try:
            for chunk, task in zip(chunks, tasks, strict=True):
                for id_, result in zip(chunk, task.result(), strict=True):
                    if isinstance(result, str):
                        broken[id_] = result
                    else:
                        headers[id_] = result
                shown.advance(len(chunk))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return headers, broken


def _header(path: str) -> _Header | str:
    """What the header says, or what is wrong with the file, as the end of a sentence."""
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_partial

    found: list[int] = []

    def at_pixels(tag: Any, _vr: str | None, _length: int) -> bool:
        if tag in PIXEL_TAGS:
            found.append(tag)
        return bool(found)

    try:
        with open(path, "rb") as file:  # noqa: PTH123
            dataset = read_partial(file, stop_when=at_pixels, specific_tags=[SERIES_TAG])
        series = dataset.get("SeriesInstanceUID")
        kind = dataset.file_meta.get("MediaStorageSOPClassUID")
    except FileNotFoundError:
        return "is not there"
    except InvalidDicomError:
        return "is not a DICOM file"
    except Exception as error:  # a damaged file can make the reader fail in any way
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"can't be read: {' '.join(str(reason).split()).rstrip('.').lower()}"
    if not found and kind and kind.name.endswith("Image Storage"):
        # pydicom doesn't say where a file ends too early.
        return f"is of the kind {kind.name} but has no pixels: it may be cut off"
    return _Header(has_pixels=bool(found), series=str(series) if series else None)


def _broken_text(files: Mapping[str, str], broken: Mapping[str, str]) -> str:
    lines = [f"{len(broken)} of {len(files)} DICOM files can't be used:"]
    lines += [f"  {files[id_]} {reason}." for id_, reason in sorted(broken.items())[:NAMED]]
    if len(broken) > NAMED:
        lines.append(f"  and {len(broken) - NAMED} more.")
    lines.append("Remove or repair them.")
    return "\n".join(lines)
