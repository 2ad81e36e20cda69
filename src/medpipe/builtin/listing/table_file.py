"""Tables as rows of text: CSV and TSV, also compressed by gzip, and Parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from medpipe.builtin.listing.values import composed
from medpipe.builtin.listing.wording import listed, nearest
from medpipe.plugin import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Row: TypeAlias = tuple[int, list[str]]
"""A row's number and its cells, without the spaces around them."""
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""What the files of Excel and other spreadsheets begin with."""

SHOWN = 40
"""How many columns an error lists."""


@attrs.frozen(kw_only=True)
class TableContent:
    """What a table holds.

    Attributes:
        header: The names of the columns, in Unicode form NFC.
        rows: The rows below the header that hold something, with their numbers, as a spreadsheet
            shows them: the header is row 1.
        unread: Columns that hold neither text nor numbers, with the type of what they hold.
        uncut: The character that seems to stand between the cells, but was not taken for that.
    """

    header: Sequence[str]
    rows: Sequence[Row]
    unread: Mapping[str, str] = attrs.field(factory=dict)
    uncut: str | None = None

    def positions(self, file: Path, wanted: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Where each column is that a field of the data set names.

        Args:
            file: The table, for the errors.
            wanted: Fields and the columns that they name.

        Raises:
            DataError: A column is not there, or twice.
        """
        names = list(dict.fromkeys(column for _, column in wanted))
        twice = [name for name in names if self.header.count(composed(name)) > 1]
        if twice:
            raise DataError(
                f"{file} has more than one column named {listed(twice)}. Rename all but one."
            )
        lines = []
        for field, column in dict.fromkeys(wanted):
            if column in self.unread:
                kind = self.unread[column]
                lines.append(
                    f"dataset.{field}: the column {column!r} holds {kind}, which is neither text "
                    "nor a number nor a truth value."
                )
            elif composed(column) not in self.header:
                hint = "" if self.uncut else nearest(column, self.header)
                lines.append(f"dataset.{field}: there is no column {column!r}.{hint}")
        if lines:
            hint = ""
            if self.uncut:
                hint = f" If its cells stand between {self.uncut!r}, set dataset.delimiter so."
            more = len(self.header) - SHOWN
            rest = f" and {more} more" if more > 0 else ""
            lines.append(f"Its columns are {listed(self.header[:SHOWN])}{rest}.{hint}")
            raise DataError("\n  ".join([f"{file} can't be used:", *lines]))
        return {name: self.header.index(composed(name)) for name in names}


def read_table(file: Path, *, encoding: str, delimiter: str | None) -> TableContent:
    """Read a table; its kind is told by its suffix.

    ``.parquet`` is Parquet; ``.tsv`` and ``.tab`` are separated by tabs, everything else by
    commas unless `delimiter` says otherwise; ``.gz`` after that is unpacked.

    Raises:
        DataError: It is not there, damaged, empty, or not in this encoding.
    """
    name = file.name.lower()
    if name.endswith((".parquet", ".parquet.gz")):
        if name.endswith(".gz"):
            raise DataError(f"{file}: Parquet is compressed in itself. Unpack the file.")
        content = _parquet(file)
    else:
        tabs = name.removesuffix(".gz").endswith((".tsv", ".tab"))
        between = delimiter or ("\t" if tabs else ",")
        content = _separated(file, _text(file, encoding), between)
    if not content.rows:
        raise DataError(f"{file} has column names but no rows below them.")
    return content


def is_encoding(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
    """Check that Python knows a text encoding of this name.

    Raises:
        ValueError: It does not.
    """
    try:
        "a".encode(value)
    except (LookupError, UnicodeError, ValueError) as error:
        raise ValueError(
            f"{value!r} is no text encoding. Usual ones are 'utf-8', 'cp1252', 'latin-1' and "
            "'utf-16'."
        ) from error


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"dataset.file: there is no file {file}.") from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise DataError(f"dataset.file: {file} can't be read: {reason}.") from error


def _text(file: Path, encoding: str) -> str:
    content = _bytes(file)
    if file.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{file} can't be unpacked: {error}. Make it again, or remove .gz from its name "
                "if it isn't compressed."
            ) from error
    if content.startswith(_WORKBOOKS):
        raise DataError(
            f"{file} is a spreadsheet or an archive, not text. Save the sheet as CSV UTF-8."
        )
    # A byte-order mark is no part of the first column's name.
    exact = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    try:
        return content.decode(exact)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        called = "UTF-8" if exact == "utf-8-sig" else repr(encoding)
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        usual = '"utf-16"' if marked and exact == "utf-8-sig" else '"cp1252", "latin-1"'
        raise DataError(
            f"{file} is not {called}: line {line} holds the byte 0x{content[error.start]:02x}. "
            f"Set dataset.encoding ({usual}), or save it as CSV UTF-8."
        ) from error


def _separated(file: Path, text: str, delimiter: str) -> TableContent:
    rows: list[Row] = []
    number = 0
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    try:
        for number, cells in enumerate(reader, 1):
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                rows.append((number, stripped))
    except csv.Error as error:
        raise DataError(f"{file} is no CSV: row {number + 1}: {error}.") from error
    if text[:4].lower() == "sep=":
        raise DataError(
            f"{file}: row 1 is {text.splitlines()[0]!r}, which is for Excel alone. Remove the row, "
            "and set dataset.delimiter if the cells don't stand between commas."
        )
    if not rows:
        raise DataError(f"{file} is empty. Row 1 must hold the column names.")
    if rows[0][0] != 1:
        raise DataError(f"{file}: row 1 is blank. It must hold the column names.")
    header = [composed(name) for name in rows[0][1]]
    signs = [sign for sign in ";\t|," if sign != delimiter and sign in header[0]]
    return TableContent(
        header=header, rows=rows[1:], uncut=signs[0] if len(header) == 1 and signs else None
    )


def _parquet(file: Path) -> TableContent:
    columns = _parquet_columns(file)
    unread: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    for written, values in columns.items():
        name = composed(written.strip())
        # Bytes, lists, arrays: what has a length and is no text.
        odd = next((v for v in values if hasattr(v, "__len__") and not isinstance(v, str)), None)
        if odd is None:
            texts[name] = [_cell(value) for value in values]
        else:
            unread[name] = type(odd).__name__
    rows = [
        (number, list(cells))
        for number, cells in enumerate(zip(*texts.values(), strict=True), 2)
        if any(cells)
    ]
    return TableContent(header=list(texts), rows=rows, unread=unread)


def _parquet_columns(file: Path) -> dict[str, list[Any]]:
    content = io.BytesIO(_bytes(file))
    try:
        import pyarrow.parquet
    except ImportError:
        try:
            import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            raise DataError(
                f"{file}: Parquet is read by pyarrow, which is not installed: "
                "pip install 'medpipe[parquet]'. Or save the table as CSV."
            ) from error
        try:
            frame = pandas.read_parquet(content)
        except (OSError, ValueError, ImportError) as error:
            raise _damaged(file, error) from error
        frame = frame.astype(object).where(frame.notna(), None)
        return {str(name): frame[name].tolist() for name in frame.columns}
    try:
        table = pyarrow.parquet.read_table(content)
    except (OSError, ValueError) as error:  # what pyarrow's errors are
        raise _damaged(file, error) from error
    return dict(zip(table.column_names, (c.to_pylist() for c in table.columns), strict=True))


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} can't be read as Parquet: {error}".rstrip(".") + ".")


def _cell(value: Any) -> str:
    """A value as a CSV file would have it; missing ones are blank."""
    return "" if value is None or value != value else str(value).strip()
