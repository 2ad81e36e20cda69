"""Find suspicious cells: rows inside an unclosed quote, invisible characters."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.values import composed
from medpipe.builtin.datasets.listing.wording import counted, listed, rows_named
from medpipe.plugin import unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from medpipe.builtin.datasets.listing.row_report import RowReport
    from medpipe.builtin.datasets.listing.table_file import TableContent

Form: TypeAlias = tuple[str, ...]
_WORD = re.compile(r"(?<!\.)\b\w+")
"""Any word except a suffix."""
_SEPARATE = re.compile(r"\S\W\S")
_LINE = ("U+0009", "U+000A", "U+000D")
"""Tabs and line breaks, which are usual in text."""
_LOST = "\ufffd"
"""The replacement character, for one that a program could not decode."""
_SCIENTIFIC = re.compile(r"\d(\.\d+)?[eE]\+?\d{2,3}")
_DECIMALS = re.compile(r"\d+\.0")
_DATE = re.compile(r"(\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{2})(-\d{2,4})?")


def swallowed(
    table: TableContent, images: Sequence[int], is_there: Callable[[Sequence[str]], bool]
) -> Iterator[tuple[int, str, str]]:
    """Find cells that hold rows of the table, since a quote before them is not closed.

    A line of a cell counts as a row if it has as many cells as row 1 and its image exists, or has
    the same form as those of other rows, apart from numbers or words.

    Args:
        table: The table.
        images: The positions of the image columns.
        is_there: Tells whether the images of a row's cells exist.

    Yields:
        The row's number, the column's name, and the first of the lines.
    """
    if table.delimiter is None:
        return
    forms: set[Form] | None = None
    for number, cells in table.rows:
        for place, cell in enumerate(cells):
            if "\n" not in cell and "\r" not in cell:
                continue
            if forms is None:
                rows = (row for _, row in table.rows if len(row) > max(images))
                forms = {form for row in rows for form in _forms(row, images)}

            def is_row(found: Sequence[str], forms: set[Form] = forms) -> bool:
                if len(found) < len(table.header):
                    return False
                return not forms.isdisjoint(_forms(found, images)) or is_there(found)

            line = _row_in(cell, cells[place + 1 :], table.delimiter, is_row)
            if line is not None:
                named = table.header[place] if place < len(table.header) else f"number {place + 1}"
                yield number, named, line
                break


def _row_in(
    cell: str, behind: Sequence[str], delimiter: str, is_row: Callable[[Sequence[str]], bool]
) -> str | None:
    """The first line of a cell that is a row, if there is one."""
    lines = cell.splitlines()[1:]
    for place, line in enumerate(lines):
        try:
            found = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        if place == len(lines) - 1:  # the row continues after the closing quote
            found = [*found, *behind]
        if is_row(found):
            return line
    return None


def _forms(cells: Sequence[str], images: Sequence[int]) -> Iterator[Form]:
    """The forms of a row's image names, with numbers or words replaced by placeholders."""
    if len(cells) <= max(images):
        return
    names = [composed(cells[place]).replace("\\", "/").rpartition("/")[2] for place in images]
    yield tuple(re.sub(r"\d+", "0", name) for name in names)
    words = tuple(_WORD.sub("w", name) for name in names)
    if all(_SEPARATE.search(form) for form in words):  # a single word has no form
        yield words


@attrs.define(kw_only=True)
class Oddities:
    """Collects oddities of cells, for the notes.

    Attributes:
        unseen: By column, the rows of cells with invisible characters.
        signs: By column, these characters.
        lost: By column, the rows of cells with a replacement character.
        mangled: By column, the rows and cells of UTF-8 that was decoded as another encoding.
    """

    unseen: dict[str, list[int]] = attrs.field(factory=dict)
    signs: dict[str, dict[str, None]] = attrs.field(factory=dict)
    lost: dict[str, list[int]] = attrs.field(factory=dict)
    mangled: dict[str, list[tuple[int, str]]] = attrs.field(factory=dict)

    def look(self, number: int, column: str, cell: str) -> None:
        """Examine a cell that is not plain ASCII."""
        odd = [sign for sign in unseen(cell) if not sign.startswith(_LINE)]
        if odd:
            self.unseen.setdefault(column, []).append(number)
            self.signs.setdefault(column, {}).update(dict.fromkeys(odd))
        if _LOST in cell:
            self.lost.setdefault(column, []).append(number)
        if _read_wrongly(cell):
            self.mangled.setdefault(column, []).append((number, cell))

    def remarks(self) -> list[str]:
        """Sentences about them."""
        said = [
            f"{counted(len(rows), 'cell')} in column {column!r} with invisible characters "
            f"({', '.join(self.signs[column])}) {_was(rows)} read without them, "
            f"{rows_named(rows)}."
            for column, rows in self.unseen.items()
        ]
        said += [
            f"{counted(len(rows), 'cell')} in column {column!r} {_was(rows)} written by a program "
            f"that lost characters (U+FFFD), {rows_named(rows)}: different values may have become "
            "the same."
            for column, rows in self.lost.items()
        ]
        said += [
            f"{counted(len(some), 'cell')} in column {column!r} {_was(some)} UTF-8 that a program "
            f"read in another encoding and wrote again, such as {listed([some[0][1]])}, "
            f"{rows_named([number for number, _ in some])}."
            for column, some in self.mangled.items()
        ]
        return said


def _was(some: Sequence[object]) -> str:
    return "was" if len(some) == 1 else "were"


def _read_wrongly(cell: str) -> bool:
    """Whether it is UTF-8 decoded as another encoding, as ``JÃ¼rgen`` is."""
    if "Ã" not in cell and "Â" not in cell:
        return False
    try:
        return cell.encode("cp1252").decode("utf-8") != cell
    except UnicodeError:
        return False


def look_at_groups(column: str, rows: Sequence[tuple[int, str]], report: RowReport) -> None:
    """Add remarks where a spreadsheet seems to have changed the ids in a column of groups."""
    known = [(number, value) for number, value in rows if value]
    by_form = {
        "numbers with a power of ten, as a spreadsheet writes long numbers": _SCIENTIFIC,
        "dates, which a spreadsheet makes of ids that look like dates": _DATE,
    }
    for said, form in by_form.items():
        found = [(number, value) for number, value in known if form.fullmatch(value)]
        if found:
            report.remarks.append(
                f"Column {column!r} has groups that are {said}: {found[0][1]!r} in "
                f"{rows_named([number for number, _ in found])}. Different groups may have become "
                "the same: take the ids from the table's source."
            )
    if known and all(_DECIMALS.fullmatch(value) for _, value in known):
        report.remarks.append(
            f"The groups in column {column!r} are written as numbers with decimals, such as "
            f"{known[0][1]!r}: if they are ids, another table may have them without decimals."
        )


def cleaned(
    number: int, cells: Mapping[str, str], odd: Oddities, *, as_written: frozenset[str]
) -> dict[str, str]:
    """The cells of a row without invisible characters; `as_written` columns are unchanged."""
    found = {}
    for column, cell in cells.items():
        if cell.isascii() and cell.isprintable():
            found[column] = cell
            continue
        odd.look(number, column, cell)
        seen = composed(cell)
        found[column] = cell if seen and column in as_written else seen
    return found


def near_names(header: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Sentences about columns whose names are almost those of columns that are used."""

    def alike(name: str) -> str:
        return composed(name).casefold().replace(" ", "")

    said = []
    for name in wanted:
        near = [
            other for other in header if other != composed(name) and alike(other) == alike(name)
        ]
        if near:
            said.append(
                f"Beside the column {name!r} there is {listed(near)}, which differs only in case "
                "or spaces."
            )
    return said
