"""The images that a row of a table names: by a column, or by several columns in a template."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from medpipe.builtin.listing.found_files import files_below
from medpipe.builtin.listing.values import composed
from medpipe.builtin.listing.wording import listed
from medpipe.plugin import DataError, is_dicom, list_dicom

if TYPE_CHECKING:
    from pathlib import Path

    from medpipe.plugin import ImageFile

Refuse: TypeAlias = Callable[[str, str], None]
"""Takes what is wrong, and the remedy."""
_BRACES = re.compile(r"\{([^{}]+)\}")


def is_template(text: str) -> bool:
    """Whether columns stand in braces, rather than the text being a column's name."""
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
        templates: What names them; several are stacked as channels.
        suffixes: Tried in this order where a file isn't there as written.
        unit: ``"file"``, or ``"series"``: each names a folder with one DICOM series.
    """

    root: Path
    templates: tuple[str, ...]
    suffixes: tuple[str, ...]
    unit: Literal["file", "series"]

    def names(self, cell: Mapping[str, str], absent: Refuse) -> tuple[str, ...] | None:
        """The paths as the row has them, with ``/``; None where a cell is blank."""
        columns = dict.fromkeys(name for text in self.templates for name in columns_of(text))
        blank = [name for name in columns if not cell[name]]
        for name in blank:
            absent(f"no image in column {name!r}.", "")
        if blank:
            return None
        return tuple(self._filled(text, cell).replace("\\", "/") for text in self.templates)

    def find(
        self, names: Sequence[str], absent: Refuse, refuse: Refuse
    ) -> tuple[ImageFile, ...] | None:
        """The files; None where one is not there (`absent`) or can't be used (`refuse`)."""
        look = self._series if self.unit == "series" else self._file
        found = [look(name, absent, refuse) for name in names]
        present = tuple(image for image in found if image is not None)
        return present if len(present) == len(found) else None

    def _filled(self, text: str, cell: Mapping[str, str]) -> str:
        if not is_template(text):
            return cell[text]
        return _BRACES.sub(lambda match: cell[match[1]], text)

    def _file(self, name: str, absent: Refuse, refuse: Refuse) -> str | None:
        written = os.path.join(self.root, name)  # noqa: PTH118  (many files)
        for suffix in ("", *self.suffixes):
            if os.path.isfile(written + suffix):  # noqa: PTH113
                return written + suffix
        if not (name.isascii() and name.isprintable()):
            seen = composed(name)
            for form in ("NFC", "NFD"):
                other = os.path.join(self.root, unicodedata.normalize(form, seen))  # noqa: PTH118
                for suffix in ("", *self.suffixes):
                    if os.path.isfile(other + suffix):  # noqa: PTH113
                        return other + suffix
            written = os.path.join(self.root, seen)  # noqa: PTH118
        if os.path.isdir(written):  # noqa: PTH112
            refuse(
                f"{written} is a folder.",
                'Where each folder holds one DICOM series set dataset.unit = "series".',
            )
        elif self.suffixes:
            absent(f"there is no file {written}, nor with {', '.join(self.suffixes)}.", "")
        else:
            tail = os.path.basename(written)  # noqa: PTH119
            hint = (
                "" if "." in tail else "Where the table leaves suffixes out set dataset.suffixes."
            )
            absent(f"there is no file {written}.", hint)
        return None

    def _series(self, name: str, absent: Refuse, refuse: Refuse) -> ImageFile | None:
        folder = os.path.join(self.root, name)  # noqa: PTH118
        if not os.path.exists(folder):  # noqa: PTH110
            folder = os.path.join(self.root, composed(name))  # noqa: PTH118
        if os.path.isfile(folder):  # noqa: PTH113
            refuse(
                f"{folder} is a file.",
                'With dataset.unit = "series" name the folder of each series; for single files '
                'set it to "file".',
            )
            return None
        if not os.path.isdir(folder):  # noqa: PTH112
            absent(f"there is no folder {folder}.", "")
            return None
        try:
            files = {id_: path for id_, path in files_below(folder, "").items() if is_dicom(path)}
            found = list_dicom(files, unit="series").images
        except DataError as error:
            refuse(str(error).replace("\n", "\n    "), "")
            return None
        except OSError as error:
            refuse(f"{error.filename or folder} can't be read: {error.strerror}.", "")
            return None
        if not found:
            absent(f"the folder {folder} holds no DICOM images.", "")
            return None
        if len(found) > 1:
            refuse(
                f"the folder {folder} holds {len(found)} DICOM series: {listed(sorted(found))}.",
                "Give each series a folder of its own, and name that.",
            )
            return None
        return next(iter(found.values()))


def same_file(path: str) -> str:
    """What two ways to write one path have in common."""
    return composed(os.path.normpath(path))
