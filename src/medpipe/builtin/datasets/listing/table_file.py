"""Read tables as rows of text: CSV, TSV (also gzipped) and Parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import threading
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.values import composed
from medpipe.builtin.datasets.listing.wording import counted, listed, looked_in, nearest, rows_named
from medpipe.plugin import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Row: TypeAlias = tuple[int, list[str]]
"""A row's number and its cells, without the spaces around them."""
Quotes: TypeAlias = Literal["checked", "trusted", "none"]
_LIMIT = threading.Lock()
"""Guards the size limit of Python's csv, which is global."""
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""The first bytes of spreadsheet files."""

QUOTES = (
    "Double a quote that is part of a text in quotes, or, if quotes mean nothing in this table, "
    'set dataset.quotes = "none".'
)
NAMED_TEXT = 60
"""Characters of a cell that a sentence shows."""
SHOWN = 40
"""How many columns an error lists."""


@attrs.frozen(kw_only=True)
class TableContent:
    """The content of a table.

    Attributes:
        header: The names of the columns, without invisible characters.
        rows: The rows below the header that are not blank, with their numbers, as a spreadsheet
            shows them: the header is row 1.
        unread: Columns that hold neither text nor numbers, with the type of their values.
        uncut: The character that seems to be the delimiter, but was not used as such.
        delimiter: The delimiter; None for Parquet.
        problems: Problems with the whole table, each with its remedy.
        remarks: Sentences for the notes.
    """

    header: Sequence[str]
    rows: Sequence[Row]
    unread: Mapping[str, str] = attrs.field(factory=dict)
    uncut: str | None = None
    delimiter: str | None = None
    problems: Sequence[tuple[str, str]] = ()
    remarks: Sequence[str] = ()

    def positions(self, file: Path, wanted: Sequence[tuple[str, str]]) -> dict[str, int]:
        """The position of each column that a field of the data set names.

        Args:
            file: The table, for the errors.
            wanted: Fields and the columns that they name.

        Raises:
            DataError: A column is missing, or there twice.
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
                    "nor a number nor true or false."
                )
            elif composed(column) not in self.header:
                hint = "" if self.uncut else nearest(column, self.header)
                lines.append(f"dataset.{field}: there is no column {column!r}.{hint}")
        if lines:
            hint = ""
            if self.uncut:
                hint = (
                    f" If {self.uncut!r} separates its cells, set dataset.delimiter = "
                    f"{self.uncut!r}."
                )
            more = len(self.header) - SHOWN
            rest = f" and {more} more" if more > 0 else ""
            lines.append(f"Its columns are {listed(self.header[:SHOWN])}{rest}.{hint}")
            raise DataError("\n  ".join([f"{file} can't be used:", *lines]))
        return {name: self.header.index(composed(name)) for name in names}


def read_table(
    file: Path, *, encoding: str, delimiter: str | None, quotes: Quotes = "checked"
) -> TableContent:
    """Read a table, in the format of its suffix.

    ``.parquet`` is Parquet; ``.tsv`` and ``.tab`` are separated by tabs, everything else by
    commas unless `delimiter` is given; files with ``.gz`` after that are unpacked.

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
        text, remarks = _text(file, encoding)
        content = _separated(file, text, between, quotes)
        content = attrs.evolve(content, remarks=[*remarks, *content.remarks])
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
            f"{value!r} is not a text encoding. Usual ones are 'utf-8', 'cp1252', 'latin-1' and "
            "'utf-16'."
        ) from error


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"dataset.file: there is no file {file}{looked_in(file)}.") from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise DataError(f"dataset.file: {file} can't be read: {reason}.") from error


def _text(file: Path, encoding: str) -> tuple[str, list[str]]:
    """The text, and remarks on its encoding."""
    content = _bytes(file)
    if file.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{file} can't be unpacked: {error}. Compress it again, or remove .gz from its "
                "name if it isn't compressed."
            ) from error
    if content.startswith(_WORKBOOKS):
        raise DataError(
            f"{file} is a spreadsheet or an archive, not text. Save the sheet as CSV UTF-8."
        )
    # A byte-order mark is no part of the first column's name.
    exact = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    try:
        text = content.decode(exact)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        called = "UTF-8" if exact == "utf-8-sig" else repr(encoding)
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        usual = '"utf-16"' if marked and exact == "utf-8-sig" else '"cp1252", "latin-1"'
        raise DataError(
            f"{file} is not {called}: line {line} holds the byte 0x{content[error.start]:02x}. "
            f"Set dataset.encoding ({usual}), or save it as CSV UTF-8."
        ) from error
    if "\0" in text:
        raise DataError(_about_nul(file, text, content))
    return text, _as_utf8(text, content, encoding)


def _about_nul(file: Path, text: str, content: bytes) -> str:
    """A sentence about NUL characters: the file has another encoding, or is damaged."""
    start = content[:4000]
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if start[place::2].count(0) > len(start) // 4:
            return f'{file} is UTF-16. Set dataset.encoding = "{name}", or save it as CSV UTF-8.'
    line = text.count("\n", 0, text.index("\0")) + 1
    return (
        f"{file} holds {text.count(chr(0))} NUL characters, the first in line {line}: it is "
        "damaged, or not text. Get it again, or save it as CSV UTF-8."
    )


def _as_utf8(text: str, content: bytes, encoding: str) -> list[str]:
    """A remark if a text may have another encoding than it was decoded from."""
    if text.isascii() or codecs.lookup(encoding).name.startswith("utf"):
        return []
    try:
        other = content.decode("utf-8")
    except UnicodeDecodeError:
        return []
    pairs = zip(text.splitlines(), other.splitlines(), strict=False)
    number, one, two = next((n, a, b) for n, (a, b) in enumerate(pairs, 1) if a != b)
    return [
        f"dataset.encoding is {encoding!r}, and the table is valid UTF-8 too: line {number} reads "
        f"{one[:NAMED_TEXT]!r}, and would read {two[:NAMED_TEXT]!r}."
    ]


def _separated(file: Path, text: str, delimiter: str, quotes: Quotes) -> TableContent:
    rows: list[Row] = []
    number = line = 0
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=True,
        quoting=csv.QUOTE_NONE if quotes == "none" else csv.QUOTE_MINIMAL,
    )
    try:
        with _cells_of(len(text)):
            for number, cells in enumerate(reader, 1):
                line = reader.line_num
                stripped = [cell.strip() for cell in cells]
                if any(map(composed, stripped)):
                    rows.append((number, stripped))
    except csv.Error as error:
        where = f"row {number + 1}" + (f" (line {line + 1})" if line != number else "")
        if "end of data" in str(error):
            said = "a double quote is opened and not closed before the end of the file"
        elif "expected after" in str(error):
            said = "text follows the double quote that closes a cell"
        else:
            said = str(error)
        raise DataError(f"{file} is not valid CSV: {where}: {said}. {QUOTES}") from error
    if text[:4].lower() == "sep=":
        raise DataError(
            f"{file}: row 1 is {text.splitlines()[0]!r}, which is for Excel alone. Remove the "
            "row, and set dataset.delimiter if commas don't separate the cells."
        )
    if not rows:
        raise DataError(f"{file} is empty. Row 1 must hold the column names.")
    if rows[0][0] != 1:
        raise DataError(f"{file}: row 1 is blank. It must hold the column names.")
    header = [composed(name) for name in rows[0][1]]
    unnamed = not header[-1]
    while len(header) > 1 and not header[-1]:  # a delimiter at the end of each row
        header.pop()
    # `composed` would turn a tab into a space.
    signs = [sign for sign in ";\t|," if sign != delimiter and sign in rows[0][1][0]]
    kept, problems, remarks = _without_headers(header, rows[1:])
    if (
        len(header) > 1
        and not unnamed
        and kept
        and all(len(cells) == len(header) + 1 and cells[-1] for _, cells in kept)
    ):
        raise DataError(
            f"{file}: row 1 has {counted(len(header), 'name')} and each row below it has "
            f"{len(header) + 1} cells: the first column has no name, as in a table that R writes "
            "with row names. Put a name in front of row 1, or write the table with row.names = "
            "FALSE."
        )
    return TableContent(
        header=header,
        rows=kept,
        uncut=signs[0] if len(header) == 1 and signs else None,
        delimiter=delimiter,
        problems=problems,
        remarks=remarks,
    )


@contextmanager
def _cells_of(size: int) -> Iterator[None]:
    """Allow cells of this size within the block; csv refuses more than 131,072 characters."""
    with _LIMIT:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, size + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _without_headers(
    header: Sequence[str], rows: list[Row]
) -> tuple[list[Row], list[tuple[str, str]], list[str]]:
    """Leave out rows that repeat row 1, as where two tables were concatenated."""
    names = sorted(header)
    again, moved = [], []
    for number, cells in rows if len(header) > 1 else ():
        if composed(cells[0]) not in names:
            continue
        seen = list(map(composed, cells))
        while len(seen) > len(header) and not seen[-1]:
            seen.pop()
        if seen == list(header):
            again.append(number)
        elif sorted(seen) == names:
            moved.append(number)
    problems = [
        (
            f"row {number} has the column names of row 1 in another order.",
            "Two tables were put together: give their columns the same order.",
        )
        for number in moved
    ]
    if not again or len(again) == len(rows):
        return rows, problems, []
    kept = [row for row in rows if row[0] not in set(again)]
    return kept, problems, [f"Row 1 is repeated and was passed over, {rows_named(again)}."]


def _parquet(file: Path) -> TableContent:
    unread: dict[str, str] = {}
    names: list[str] = []
    texts: list[list[str]] = []
    for written, values in _parquet_columns(file):
        name = composed(written)
        # Bytes, lists and arrays have a length, and are not text.
        odd = next((v for v in values if hasattr(v, "__len__") and not isinstance(v, str)), None)
        if odd is None:
            names.append(name)
            texts.append(_cells(values))
        else:
            unread[name] = type(odd).__name__
    rows = [
        (number, list(cells))
        for number, cells in enumerate(zip(*texts, strict=True), 2)
        if any(map(composed, cells))
    ]
    return TableContent(header=names, rows=rows, unread=unread)


def _parquet_columns(file: Path) -> list[tuple[str, list[Any]]]:
    """The columns in their order; two may have the same name."""
    content = io.BytesIO(_bytes(file))
    try:
        import pyarrow.parquet
    except ImportError:
        try:
            import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            raise DataError(
                f"{file}: Parquet is read by pyarrow, which is not installed: "
                "pip install pyarrow. Or save the table as CSV."
            ) from error
        try:
            frame = pandas.read_parquet(content)
        except (OSError, ValueError, ImportError) as error:
            raise _damaged(file, error) from error
        frame = frame.astype(object).where(frame.notna(), None)
        return [(str(n), frame.iloc[:, at].tolist()) for at, n in enumerate(frame.columns)]
    try:
        table = pyarrow.parquet.ParquetFile(content).read()
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise _damaged(file, error) from error
    columns = (column.to_pylist() for column in table.columns)
    return list(zip(table.column_names, columns, strict=True))


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} can't be read as Parquet: {error}".rstrip(".") + ".")


def _cells(values: list[Any]) -> list[str]:
    """A column as text; undo pandas' conversion of integers with missing values to floats."""
    known = [v for v in values if v is not None and v == v]
    if known and all(isinstance(v, float) and v.is_integer() and abs(v) < 2**53 for v in known):
        values = [int(v) if v is not None and v == v else None for v in values]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    """A value as a CSV file would have it; missing ones are blank."""
    return "" if value is None or value != value else str(value).strip()
