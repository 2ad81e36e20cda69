"""The image files that a row names: by a column, or by a template of columns."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.values import composed
from medpipe.builtin.datasets.listing.wording import listed, looked_in
from medpipe.plugin import (
    IMAGE_SUFFIXES,
    DataError,
    Fault,
    FaultKind,
    FolderListing,
    UnreadableImageError,
    file_mode,
    find_images,
    spellings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe.plugin import ImageFile

Absent: TypeAlias = Callable[[str, str], None]
"""Takes a sentence about what is missing, and the remedy."""


class Refuse(Protocol):
    """Takes a sentence about a problem, and the remedy."""

    def __call__(self, problem: str, remedy: str, kind: FaultKind = "row") -> None:  # noqa: D102
        ...


_OF_WINDOWS = re.compile(r"[A-Za-z]:/|//")
_RELATIVE = (
    "A Windows path with a drive or a server can't be used on this system: write paths relative "
    "to dataset.root."
)
_BRACES = re.compile(r"\{([^{}]+)\}")


def is_template(text: str) -> bool:
    """Whether a text has columns in braces, and is not a column's name."""
    return _BRACES.search(text) is not None


def columns_of(template: str) -> tuple[str, ...]:
    """The columns that a template, or the name of a column, needs."""
    return tuple(_BRACES.findall(template)) if is_template(template) else (template,)


def names_columns(
    instance: object, attribute: attrs.Attribute[Any], value: str | tuple[str, ...]
) -> None:
    """Check the names of columns and templates.

    Raises:
        ValueError: There is none, or a brace is left over.
    """
    if not value:
        raise ValueError("name a column.")
    for text in (value,) if isinstance(value, str) else value:
        if not text or any(sign in _BRACES.sub("", text) for sign in "{}"):
            raise ValueError(
                f"{text!r} is neither a column nor a template with columns in braces, such as "
                '"{folder}/{filename}".'
            )


@attrs.frozen(kw_only=True)
class ImageFinder:
    """Finds the files of a row's image.

    Attributes:
        root: The folder that relative paths start from.
        templates: Columns or templates for the paths; several are stacked as channels.
        suffixes: Appended in this order where a path is no file.
        unit: ``"file"``, or ``"series"``: each names a folder with one DICOM series.
        across_folders: Whether the files of a series may lie in several folders below that one.
        passed: Collects the files that were skipped in these folders.
    """

    root: Path
    templates: tuple[str, ...]
    suffixes: tuple[str, ...]
    unit: Literal["file", "series"]
    across_folders: bool = True
    passed: FolderListing = attrs.field(factory=FolderListing)

    def names(self, cell: Mapping[str, str], absent: Absent) -> tuple[str, ...] | None:
        """The paths in a row, with ``/``; None where a cell is blank."""
        columns = dict.fromkeys(name for text in self.templates for name in columns_of(text))
        blank = [name for name in columns if not cell[name]]
        for name in blank:
            absent(f"no image in column {name!r}.", "")
        if blank:
            return None
        return tuple(self._filled(text, cell).replace("\\", "/") for text in self.templates)

    def find(
        self, names: Sequence[str], absent: Absent, refuse: Refuse
    ) -> tuple[ImageFile, ...] | None:
        """The files; None where one is missing (`absent`) or can't be used (`refuse`)."""
        look = self._series if self.unit == "series" else self._file
        found = [look(name, absent, refuse) for name in names]
        present = tuple(image for image in found if image is not None)
        return present if len(present) == len(found) else None

    def _filled(self, text: str, cell: Mapping[str, str]) -> str:
        if not is_template(text):
            return cell[text]
        return _BRACES.sub(lambda match: cell[match[1]], text)

    def _file(self, name: str, absent: Absent, refuse: Refuse) -> str | None:
        written = os.path.join(self.root, _seen(name))  # noqa: PTH118  (many files)
        folder = False
        for path, as_named in self._tried(name):
            mode = self._mode(path, refuse)
            if mode is None:
                return None
            if stat.S_ISREG(mode):
                return path
            if mode and as_named:
                folder = stat.S_ISDIR(mode)
                if not folder:
                    refuse(f"{path} is not a file but a pipe, a socket or a device.", "")
                    return None
        if folder:
            refuse(
                f"{written} is a folder.",
                'If each folder holds one DICOM series, set dataset.unit = "series".',
            )
        elif os.sep == "/" and _OF_WINDOWS.match(name):
            absent(f"there is no file {written}{looked_in(written)}.", _RELATIVE)
        elif self.suffixes:
            tried = ", ".join(self.suffixes)
            absent(f"there is no file {written}{looked_in(written)}, nor with {tried}.", "")
        else:
            tail = os.path.basename(written)  # noqa: PTH119
            hint = "" if "." in tail else "If the table leaves suffixes out, set dataset.suffixes."
            absent(f"there is no file {written}{looked_in(written)}.", hint)
        return None

    def _tried(self, name: str) -> Iterator[tuple[str, bool]]:
        """The paths to try, and whether each is the name itself, without a suffix.

        They are the name as written, with each suffix, then with other spellings of suffixes.
        """
        for form in _forms(name):
            path = os.path.join(self.root, form)  # noqa: PTH118
            yield path, True
            for suffix in self.suffixes:
                yield path + suffix, False
            for suffix in self.suffixes:
                for other in spellings(suffix):
                    for spelled in dict.fromkeys((other, other.lower(), other.upper())):
                        if spelled != suffix:
                            yield path + spelled, False

    def _mode(self, path: str, refuse: Refuse) -> int | None:
        """The mode of a file, 0 where there is none; None, and refused, where it can't be read."""
        try:
            return file_mode(path)
        except UnreadableImageError as error:
            refuse(f"{error.path} {error.reason}.", "", error.kind)
            return None

    def _series(self, name: str, absent: Absent, refuse: Refuse) -> ImageFile | None:
        mode: int | None = 0
        for form in _forms(name):
            folder = os.path.join(self.root, form)  # noqa: PTH118
            mode = self._mode(folder, refuse)
            if mode != 0:
                break
        if mode is None:
            return None
        if mode and not stat.S_ISDIR(mode):
            refuse(
                f"{folder} is a file.",
                'With dataset.unit = "series" name the folder of each series; for single files '
                'set dataset.unit = "file".',
            )
            return None
        if not mode:
            absent(f"there is no folder {folder}{looked_in(folder)}.", "")
            return None
        faults: list[Fault] = []
        try:
            listing = FolderListing(faults=faults)
            listing.look_below(folder)
            others = FolderListing(
                faults=faults,
                files={
                    id_: path
                    for id_, path in listing.files.items()
                    if not id_.lower().endswith(IMAGE_SUFFIXES)
                },
                broken=listing.broken,
            )
            found = find_images(others, unit="series", across_folders=self.across_folders)
        except DataError as error:
            refuse(str(error).replace("\n", "\n    "), "", "unreadable")
            return None
        for fault in faults:
            refuse(fault.message, fault.remedy, fault.kind)
        if faults:
            return None
        self.passed.system += [f"{name}/{id_}" for id_ in listing.system]
        self.passed.folder_links += [f"{name}/{id_}" for id_ in listing.folder_links]
        self.passed.special += [f"{name}/{id_}" for id_ in listing.special]
        if not found.images:
            absent(f"the folder {folder} holds no DICOM images.", "")
            return None
        if len(found.images) > 1:
            refuse(
                f"the folder {folder} holds {len(found.images)} DICOM series: "
                f"{listed(sorted(found.images))}.",
                "Give each series a folder of its own, and name that folder.",
            )
            return None
        return next(iter(found.images.values()))


def same_file(path: str) -> str:
    """A key that different spellings of one path share."""
    return composed(os.path.normpath(path))


def _seen(name: str) -> str:
    return name if name.isascii() and name.isprintable() else composed(name)


def _forms(name: str) -> Iterator[str]:
    """A name as written, and then in NFC and NFD without invisible characters."""
    yield name
    if not (name.isascii() and name.isprintable()):
        for form in ("NFC", "NFD"):
            yield unicodedata.normalize(form, composed(name))
