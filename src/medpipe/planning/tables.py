"""What the columns of a table are: image, label, patient, split."""

from __future__ import annotations

import csv
import gzip
import io
import re
from typing import TYPE_CHECKING, Any

import attrs

from medpipe.data.listing.names import DICOM_SUFFIXES, IMAGE_SUFFIXES
from medpipe.errors import DataError
from medpipe.system.options import option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUFFIXES = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz")
TRIED = 60
"""Cells of a column that are looked up as files."""
ENOUGH = 0.5
"""The part of them that must be there."""
PATIENT = re.compile(
    r"(?i)^(patient|subject|person|participant|case|mrn|pid)([ _-]?(id|no|number))?$"
)
SPLIT = re.compile(r"(?i)^(split|set|subset|partition|fold|part)$")
SPLIT_WORDS = frozenset({"training", "train", "validation", "valid", "val", "test"})
LABEL = re.compile(
    r"(?i)^(labels?|class(es)?|category|diagnos[ie]s|dx|targets?|findings?( labels)?|outcome|y|"
    r"grade|age|score|severity)$"
)
NO_LABEL = re.compile(
    r"(?i)(^|[ _-])(id|uid|path|file|filename|name|date|time|number|index|view|"
    r"laterality|side|sex|gender|male|female|site|scanner|width|height|rows|columns)s?($|[ _-])"
)
SEPARATORS = ("|", ";")
MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "?"})
FEW_NUMBERS = 20
"""Different numbers up to which a column is of classes."""
MANY_CLASSES = 100


@attrs.frozen(kw_only=True)
class TableColumns:
    """A text table, as far as a plan needs it.

    Attributes:
        header: The names of the columns.
        cells: The cells of each column, without spaces around them.
        delimiter: Between two cells, where it is not the one that the suffix says.
        encoding: How the text is encoded.
    """

    header: tuple[str, ...]
    cells: dict[str, list[str]] = attrs.field(repr=False)
    delimiter: str | None
    encoding: str

    def values(self, column: str) -> list[str]:
        """The cells that are not blank."""
        return [cell for cell in self.cells[column] if cell.lower() not in MISSING]


def read_columns(file: Path) -> TableColumns:
    """Read a text table.

    Raises:
        DataError: It can't be read, or has no rows.
    """
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise DataError(f"{file} can't be read: {error}.") from error
    encoding = "utf-8"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        encoding, text = "cp1252", content.decode("cp1252", "replace")
    tabs = file.name.removesuffix(".gz").endswith((".tsv", ".tab"))
    usual, first = "\t" if tabs else ",", text.partition("\n")[0]
    delimiter = max((usual, ",", ";", "\t", "|"), key=first.count)
    delimiter = delimiter if first.count(delimiter) > first.count(usual) else usual
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
    if len(rows) < 2:
        raise DataError(f"{file} has no rows below its header. Name a table with a row per image.")
    header = tuple(name.strip() for name in rows[0])
    columns: dict[str, list[str]] = {name: [] for name in header}
    for row in rows[1:]:
        padded = [*row, *[""] * len(header)]
        for name, cell in zip(header, padded, strict=False):
            columns[name].append(cell.strip())
    return TableColumns(
        header=header,
        cells=columns,
        delimiter=None if delimiter == usual else delimiter,
        encoding=encoding,
    )


@attrs.frozen(kw_only=True)
class ImageColumn:
    """The column that names the images.

    Attributes:
        names: The column, or several that name images of one sample.
        root: The folder that paths begin from; None: that of the table.
        suffixes: What the table leaves out of the names.
        missing: Whether some of the files that were looked up are not there.
    """

    names: tuple[str, ...]
    root: Path | None
    suffixes: tuple[str, ...]
    missing: bool


def image_column(table: TableColumns, file: Path) -> ImageColumn | None:
    """Find the column whose cells name files; None where there is none."""
    folders = [None, *sorted(path for path in file.parent.iterdir() if path.is_dir())]
    endings = ("", *IMAGE_SUFFIXES, *DICOM_SUFFIXES)
    best: tuple[float, ImageColumn] | None = None
    for name in table.header:
        cells = table.values(name)
        cells = cells[:: max(1, len(cells) // TRIED)][:TRIED]
        if not cells:
            continue
        for folder in folders:
            for ending in endings:
                above = file.parent if folder is None else folder
                there = sum((above / (cell + ending)).is_file() for cell in cells) / len(cells)
                if there >= ENOUGH and (best is None or there > best[0]):
                    best = (
                        there,
                        ImageColumn(
                            names=(name,),
                            root=folder,
                            suffixes=(ending,) if ending else (),
                            missing=there < 1,
                        ),
                    )
    if best is None:
        return None
    found = best[1]
    above, ending = found.root or file.parent, "".join(found.suffixes)
    others = [
        name
        for name in table.header
        if name not in found.names
        and (cells := table.values(name))
        and all((above / (cell + ending)).is_file() for cell in cells[:TRIED])
    ]
    return attrs.evolve(found, names=(*found.names, *others))


def group_column(table: TableColumns, taken: Sequence[str]) -> str | None:
    """The column that names patients; None where there is none."""
    fitting = [name for name in table.header if PATIENT.match(name) and name not in taken]
    return next((name for name in fitting if len(table.values(name)) > 1), None)


def split_column(table: TableColumns, taken: Sequence[str]) -> str | None:
    """The column with the split of each image; None where there is none."""
    return next(
        (
            name
            for name in table.header
            if name not in taken
            and SPLIT.match(name)
            and {value.lower() for value in table.values(name)} <= SPLIT_WORDS
            and len(set(table.values(name))) > 1
        ),
        None,
    )


def label_settings(
    table: TableColumns, taken: Sequence[str], wanted: str | None
) -> list[tuple[str, Any, str]]:
    """The label's parameters of the dataset step ``table``, each with its reason.

    Raises:
        DataError: No column is a label, or several may be.
    """
    left = [name for name in table.header if name not in taken and name and table.values(name)]
    if wanted is not None:
        if wanted not in left:
            raise DataError(
                f"There is no column {wanted!r} to learn. The columns are {', '.join(left)}."
            )
        return _of_column(table, wanted, "the column that was asked for")
    findings = [name for name in left if _is_finding(table.values(name))]
    named = [name for name in left if LABEL.match(name)]
    if len(named) == 1 and not (len(findings) > 2 and named[0] in findings):
        return _of_column(table, named[0], "its name says so")
    if len(findings) > 1 and len(named) < 2:
        columns = [name for name in findings if not NO_LABEL.search(name)]
        return _of_findings(table, columns)
    likely = [name for name in left if not NO_LABEL.search(name) and _teaches(table, name)]
    candidates = named or likely
    if len(candidates) == 1:
        return _of_column(table, candidates[0], "no other column can be a label")
    if not candidates:
        raise DataError(
            f"No column of {', '.join(table.header)} looks like a label. Name it with "
            f"{option('label')}."
        )
    raise DataError(
        f"Several columns may be the label: {', '.join(candidates)}. Name one with "
        f"{option('label')}."
    )


def _is_finding(values: Sequence[str]) -> bool:
    return set(values) <= {"0", "1", "-1", "0.0", "1.0", "-1.0"} and len(set(values)) > 1


def _teaches(table: TableColumns, name: str) -> bool:
    """Whether a column may be of classes or of numbers."""
    values = table.values(name)
    different = len(set(values))
    return 1 < different <= max(FEW_NUMBERS, len(values) // 4) or (
        different > 1 and all(map(_is_number, values))
    )


def _of_findings(table: TableColumns, columns: Sequence[str]) -> list[tuple[str, Any, str]]:
    chosen: list[tuple[str, Any, str]] = [
        ("label", list(columns), "each of these columns is 1 or 0"),
        ("task", "multilabel", "several findings may be in one image"),
    ]
    if any(value.startswith("-1") for name in columns for value in table.values(name)):
        chosen.append(("uncertain", "missing", "-1 means uncertain; these labels are left out"))
    return chosen


def _of_column(table: TableColumns, name: str, why: str) -> list[tuple[str, Any, str]]:
    values = table.values(name)
    chosen: list[tuple[str, Any, str]] = [("label", name, why)]
    blank = len(values) < len(table.cells[name])
    separator = next((sign for sign in SEPARATORS if any(sign in value for value in values)), None)
    if separator is not None:
        parts = {part.strip() for value in values for part in value.split(separator)}
        chosen.append(("separator", separator, "one cell has several findings"))
        nothing = sorted(p for p in parts if re.fullmatch(r"(?i)no[ _-]?findings?|normal|none", p))
        if nothing:
            chosen.append(("negative", nothing, "means that there is no finding"))
    elif _measures(values):
        why = f"{len(set(values))} different numbers are measurements, not classes"
        chosen.append(("task", "regression", why))
    elif len(set(values)) > MANY_CLASSES:
        raise DataError(
            f"The column {name!r} has {len(set(values))} different values, too many for classes. "
            f"Name another with {option('label')}."
        )
    if blank:
        chosen.append(("missing_labels", "drop", "some rows have no label"))
    return chosen


def _measures(values: Sequence[str]) -> bool:
    """Whether numbers are measurements, not the names of classes."""
    if not all(map(_is_number, values)):
        return False
    different = len(set(values))
    fractions = any(float(value) % 1 for value in values)
    return different > FEW_NUMBERS or (different > 4 and (fractions or 2 * different > len(values)))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
