"""Files in folders: which there are, which of them are images, and what was passed over."""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, Literal

import attrs

from medpipe.builtin.listing.wording import counted
from medpipe.plugin import DataError, Fault, FaultKind, is_dicom, list_dicom

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from medpipe.plugin import ImageFile

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nii", ".nii.gz")
"""Images that are known by their names; DICOM files are known by their content."""
_DICOM_NAMES = (".dcm", ".dicom")
_log = logging.getLogger("medpipe")


@attrs.frozen(kw_only=True)
class FoundImages:
    """The images among some files.

    Attributes:
        images: By id.
        notes: Sentences about what was passed over.
    """

    images: Mapping[str, ImageFile]
    notes: tuple[str, ...] = ()


def are_suffixes(
    instance: object, attribute: attrs.Attribute[Any], value: tuple[str, ...] | None
) -> None:
    """Check that each suffix begins with a point.

    Raises:
        ValueError: One does not, or there is none.
    """
    if value is None:
        return
    if not value:
        raise ValueError('the list is empty. Name a suffix (".png"), or leave it out.')
    wrong = [suffix for suffix in value if not suffix.startswith(".") or len(suffix) < 2]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no suffix. Begin it with a point: '.png'.")


def find_images(
    files: Mapping[str, str],
    *,
    suffixes: Sequence[str] | None,
    unit: Literal["file", "series"],
    links: Collection[str] | None = None,
    faults: list[Fault] | None = None,
) -> FoundImages:
    """Tell images from other files, by name or else by content.

    Args:
        files: Path by id.
        suffixes: Only files whose names end so are looked at, in any case. None: all.
        unit: Whether each DICOM file is an image, or each series.
        links: The ids of those that are links; None: any may be one.
        faults: Gets what is wrong with single files. None: that is an error.

    Raises:
        DataError: A link leads nowhere, or a DICOM file is damaged or called so without being one.
    """
    wanted = None if suffixes is None else tuple(suffix.lower() for suffix in suffixes)
    images: dict[str, ImageFile] = {}
    dicom: dict[str, str] = {}
    passed: dict[str, list[str]] = {}
    unmarked: list[str] = []
    if wanted is None and links is not None and not links and _all_are_images(files):
        return FoundImages(images=files)  # as almost always
    for id_, path in files.items():
        name = id_.lower()
        if wanted is not None and not name.endswith(wanted):
            passed.setdefault("with other suffixes (dataset.suffixes)", []).append(id_)
        elif name.endswith(SUFFIXES):
            # To ask of each file whether it is there takes as long as to list it.
            if (links is None or id_ in links) and not os.path.exists(path):  # noqa: PTH110
                message = f"{path} is a link to a file that is not there."
                refuse_or_note(faults, "missing", message, id_, path)
                continue
            images[id_] = path
        elif is_dicom(path):
            dicom[id_] = path
        elif name.endswith(_DICOM_NAMES):
            unmarked.append(id_)
        else:
            passed.setdefault("of other kinds", []).append(id_)
    if unmarked and faults is not None:
        faults += [
            Fault(
                kind="not_an_image",
                message=f"{files[id_]} is called DICOM without DICOM's mark (DICM at byte 128).",
                sample=id_,
                path=files[id_],
            )
            for id_ in unmarked
        ]
    elif unmarked:
        raise DataError(
            f"{counted(len(unmarked), 'file')} called DICOM without DICOM's mark (DICM at byte "
            f"128), {min(unmarked)!r} for one. Write such files again with pydicom.dcmread(path, "
            "force=True).save_as(path, enforce_file_format=True), or remove them."
        )
    notes = [_passed_over(ids, which) for which, ids in passed.items()]
    if dicom:
        listing = list_dicom(dicom, unit=unit, faults=faults)
        images.update(listing.images)
        if listing.skipped:
            one = len(listing.skipped) == 1
            notes.append(
                f"{counted(len(listing.skipped), 'DICOM file')} without pixels "
                f"{'was' if one else 'were'} left out, {min(listing.skipped)!r}"
                f"{'' if one else ' for one'}."
            )
    return FoundImages(images=images, notes=tuple(notes))


def files_below(
    folder: str,
    id_: str,
    links: list[str] | None = None,
    file_links: set[str] | None = None,
    faults: list[Fault] | None = None,
) -> dict[str, str]:
    """The paths of the files at any depth below a folder, by id.

    Hidden files and folders are left aside; links to folders are not followed.

    Args:
        folder: The folder.
        id_: Its own id; empty for the root.
        links: Gets the ids of the links to folders.
        file_links: Gets the ids of the links to files.
        faults: Gets what is wrong with single names. None: that is an error.

    Raises:
        DataError: Two names are the same in Unicode form NFC, or one is not UTF-8.
        OSError: A folder can't be read.
    """
    found: dict[str, str] = {}
    waiting = [(folder, id_)]
    while waiting:
        current, above = waiting.pop()
        start = f"{above}/" if above else ""
        try:
            entries = visible(current)
        except OSError as error:
            if not above or faults is None:
                raise
            message = f"The folder {current} can't be read: {(error.strerror or '').lower()}."
            refuse_or_note(faults, "unreadable", message, above, current)
            continue
        for entry in entries:
            name = entry.name
            if not name.isascii():
                try:
                    name = portable(name, current)
                except DataError as error:
                    refuse_or_note(faults, "id", str(error), start + name, entry.path)
                    continue
            inner = start + name
            if entry.is_file(follow_symlinks=False) and inner not in found:
                found[inner] = entry.path
            elif entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, inner))
            elif _is_folder(entry):
                _log.warning("%s is a link to a folder and was not followed", entry.path)
                if links is not None:
                    links.append(inner)
            elif is_file(entry):
                if inner in found:
                    first, second = sorted((entry.path, found[inner]))
                    message = (
                        f"{first} and {second} have the same name in Unicode form NFC. "
                        "Rename one of them."
                    )
                    refuse_or_note(faults, "id", message, inner, entry.path)
                    continue
                found[inner] = entry.path
                if file_links is not None:
                    file_links.add(inner)
            elif inner.lower().endswith(SUFFIXES):
                message = f"{entry.path} is no file but a pipe, a socket or a device."
                refuse_or_note(faults, "unreadable", message, inner, entry.path)
    return {inner: found[inner] for inner in sorted(found)}


def visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds, without hidden names and what macOS adds to archives."""
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name[0] != "." and entry.name != "__MACOSX"]


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link to one, also one that isn't there; no pipe or socket."""
    if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
        return True  # asked first: of a link to itself the others raise an error
    return entry.is_file()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def portable(name: str, folder: str | Path) -> str:
    """A name in Unicode form NFC, the same on every machine.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        told = f"{folder} holds a name that is not UTF-8: {os.fsencode(name)!r}. Rename it."
        taken = sys.getfilesystemencoding()
        if taken.lower() not in ("utf-8", "utf8"):  # LC_ALL=C with Python's own remedy switched off
            told = (
                f"{folder} holds a name that is not {taken}, for which this process takes names: "
                f"{os.fsencode(name)!r}. Set the environment variable PYTHONUTF8=1."
            )
        raise DataError(told) from error
    return unicodedata.normalize("NFC", name)


def refuse_or_note(
    faults: list[Fault] | None, kind: FaultKind, message: str, id_: str, path: str
) -> None:
    """Note what is wrong with one file.

    Raises:
        DataError: There is nowhere to note it.
    """
    if faults is None:
        raise DataError(message)
    faults.append(Fault(kind=kind, message=message, sample=id_, path=path))


def _all_are_images(ids: Iterable[str]) -> bool:
    """Whether all names end as those of images do: all at once, which is quicker."""
    end = "\0"  # no name holds it
    names = end.join([*ids, ""]).lower()
    return sum(names.count(suffix + end) for suffix in SUFFIXES) == names.count(end)


def _passed_over(ids: Sequence[str], which: str) -> str:
    one = len(ids) == 1
    return (
        f"{counted(len(ids), 'file')} {which} {'was' if one else 'were'} passed over, "
        f"{min(ids)!r}{'' if one else ' for one'}."
    )
