"""A table (CSV) that names image files, their labels and, where known, groups and parts."""

from __future__ import annotations

import csv
import difflib
import io
import os
import posixpath
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from medpipe.plugin import DataError, Dataset, DatasetStep, Part, Reading, Sample, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTS: Mapping[str, Part] = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_MOST_SHOWN = 10


@attrs.frozen(kw_only=True)
class Table(DatasetStep):
    """A CSV file with a row for each image: comma-separated, UTF-8, column names in row 1.

    Classes are the distinct labels, sorted. Spaces around cells and rows without any content are
    passed over. A sample's id is what the image column holds, with ``/`` between folders.

    Attributes:
        file: The CSV file.
        root: The folder that relative image paths start from. None: the folder of `file`.
        image: The column with the path of each image.
        label: The column with the class of each image.
        group: The column with what must stay in one part, usually the patient. None: every image
            is a group of its own.
        split: The column with the part of each image: ``training`` or ``train``; ``validation``,
            ``valid`` or ``val``; ``test``; in any case. None: the library chooses.
        channels: 1: images become grey; 3: they become RGB; ``"auto"``: as the files have them,
            without alpha and with palettes resolved.
    """

    name: ClassVar[str] = "table"

    file: Path
    root: Path | None = None
    image: str = "image"
    label: str = "label"
    group: str | None = None
    split: str | None = None
    channels: Literal[1, 3, "auto"] = "auto"

    def build(self) -> Dataset:
        """List the images, in the order of the rows.

        Raises:
            DataError: The table can't be read, or is wrong: with row numbers as a spreadsheet
                shows them, up to ten problems at once.
        """
        file = Path(self.file).expanduser()
        root = file.parent if self.root is None else Path(self.root).expanduser()
        rows = _rows(file)
        if not root.is_dir():
            raise DataError(f"dataset.root: there is no folder {root}.")
        columns = self._columns(file, rows[0][1])
        width = len(rows[0][1])
        samples: list[tuple[str, Sample]] = []
        problems: list[str] = []
        first_row: dict[str, int] = {}
        for number, cells in rows[1:]:
            if any(cells[width:]):
                problems.append(
                    f"row {number}: {len(cells)} cells, but row 1 has {width}. Put cells that "
                    "hold a comma in double quotes."
                )
                continue
            cells = [*cells, *[""] * (width - len(cells))]
            values = {field: cells[position] for field, position in columns.items()}
            wrong = self._problems(number, values, root, first_row)
            problems += wrong
            if not wrong:
                path = values["image"].replace("\\", "/")
                sample = Sample(
                    id=_composed(path),
                    image=os.fspath(root / path),
                    label=0,  # set below, when all classes are known
                    group=_composed(values["group"]) if "group" in values else None,
                    split=_PARTS.get(values.get("split", "").lower()),
                )
                samples.append((_composed(values["label"]), sample))
        if problems:
            raise _wrong(file, problems)
        names = tuple(sorted({label for label, _ in samples}))
        if len(names) == 1:
            raise DataError(
                f"{file} holds one class only, {names[0]!r} in column {self.label!r}. A "
                "classifier needs two or more; name another column with dataset.label."
            )
        index = {label: position for position, label in enumerate(names)}
        return Dataset(
            samples=tuple(attrs.evolve(sample, label=index[label]) for label, sample in samples),
            task=Task(names=names),
            reading=Reading(channels=self.channels),
        )

    def _problems(
        self, number: int, values: dict[str, str], root: Path, first_row: dict[str, int]
    ) -> list[str]:
        """What is wrong with a row; notes in `first_row` where its image came first."""
        problems = [
            f"row {number}: no {field} in column {getattr(self, field)!r}."
            for field, value in values.items()
            if not value
        ]
        split = values.get("split")
        if split and split.lower() not in _PARTS:
            problems.append(
                f"row {number}: {split!r} in column {self.split!r} is no part. Write training, "
                "validation or test."
            )
        path = values["image"].replace("\\", "/")
        if path:
            before = first_row.setdefault(posixpath.normpath(_composed(path)), number)
            if before != number:
                problems.append(f"row {number}: {path!r} is in row {before} already.")
            elif not os.path.isfile(root / path):  # noqa: PTH113  (many files)
                problems.append(f"row {number}: there is no file {root / path}.")
        return problems

    def _columns(self, file: Path, header: list[str]) -> dict[str, int]:
        """Where each field's column is in the table."""
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise DataError(
                f"{file} has more than one column named {_listed(twice)}. Rename all but one."
            )
        wanted = {"image": self.image, "label": self.label}
        if self.group is not None:
            wanted["group"] = self.group
        if self.split is not None:
            wanted["split"] = self.split
        uncut = len(header) == 1 and any(sign in header[0] for sign in ";\t|")
        missing = [
            f"dataset.{field}: there is no column {name!r}."
            + ("" if uncut else _nearest(name, header))
            for field, name in wanted.items()
            if name not in header
        ]
        if missing:
            hint = " Columns must be separated by commas." if uncut else ""
            raise _wrong(file, [*missing, f"Its columns are {_listed(header)}.{hint}"])
        return {field: header.index(name) for field, name in wanted.items()}


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """The rows that hold something, with their numbers; the first is the header, row 1."""
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"dataset.file: there is no file {file}.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"dataset.file: {file} can't be read: {reason}.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{file} is not UTF-8: line {line} holds the byte 0x{content[error.start]:02x}. Save "
            "it as CSV UTF-8."
        ) from error
    rows: list[tuple[int, list[str]]] = []
    number = 0
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), 1):
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                rows.append((number, stripped))
    except csv.Error as error:
        raise DataError(f"{file} is no CSV: row {number + 1}: {error}.") from error
    if not rows:
        raise DataError(f"{file} is empty. Row 1 must hold the column names.")
    if rows[0][0] != 1:
        raise DataError(f"{file}: row 1 is blank. It must hold the column names.")
    if len(rows) == 1:
        raise DataError(f"{file} has column names but no rows below them.")
    return rows


def _nearest(name: str, header: list[str]) -> str:
    lowered = {known.lower(): known for known in header if known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f" Did you mean {lowered[near[0]]!r}?" if near else ""


def _wrong(file: Path, problems: list[str]) -> DataError:
    shown = [f"  {problem}" for problem in problems[:_MOST_SHOWN]]
    if len(problems) > _MOST_SHOWN:
        shown.append(f"  and {len(problems) - _MOST_SHOWN} more")
    return DataError("\n".join([f"{file} can't be used:", *shown]))


def _composed(text: str) -> str:
    """Unicode form NFC, so that ids and classes are the same whoever wrote the table."""
    return unicodedata.normalize("NFC", text)


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
