"""Read a table's rows: make samples, leave rows out, and report problems."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.grouping import Ungrouped, group_of
from medpipe.builtin.datasets.listing.spellings import remarks_on
from medpipe.builtin.datasets.listing.table_cells import (
    Oddities,
    cleaned,
    look_at_groups,
    near_names,
    swallowed,
)
from medpipe.builtin.datasets.listing.table_file import QUOTES, Quotes
from medpipe.builtin.datasets.listing.table_images import columns_of, same_file
from medpipe.builtin.datasets.listing.table_repeated import KeptRow, joined
from medpipe.builtin.datasets.listing.values import Key, composed, composed_lines, key
from medpipe.builtin.datasets.listing.wording import counted, listed, rows_named
from medpipe.plugin import Fault, FaultKind, Sample

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from medpipe.builtin.datasets.listing.labels import LabelReader
    from medpipe.builtin.datasets.listing.row_report import RowReport
    from medpipe.builtin.datasets.listing.table_file import TableContent
    from medpipe.builtin.datasets.listing.table_images import ImageFinder
    from medpipe.plugin import Split

Repeated: TypeAlias = Literal["error", "agree", "any"]
_DROP_FILES = 'To leave these rows out, set dataset.missing_files = "drop".'
_DROP_LABELS = 'To leave these rows out, set dataset.missing_labels = "drop".'
_UNGROUPED = (
    'For rows without a group, set dataset.ungrouped to "own" (each is a group of its own) or '
    '"drop" (they are left out).'
)


@attrs.define(kw_only=True)
class _Row:
    """The result of reading one row; a row that is left out has no problems."""

    number: int
    id: str = ""
    path: str = ""
    problems: list[tuple[FaultKind, str, str]] = attrs.field(factory=list)
    dropped: tuple[str, ...] | None = None
    own: bool = False

    def refuse(self, problem: str, remedy: str, kind: FaultKind = "row") -> None:
        self.problems.append((kind, f"row {self.number}: {problem}", remedy))

    def refuse_label(self, problem: str, remedy: str) -> None:
        self.refuse(problem, remedy, "label")

    def faults(self) -> list[Fault]:
        name = self.id or f"row {self.number}"
        return [
            Fault(kind=kind, message=message, remedy=remedy, sample=name, path=self.path)
            for kind, message, remedy in self.problems
        ]

    def drop(self, what: str, setting: str, example: str = "") -> None:
        self.dropped = self.dropped or (what, setting, example)


@attrs.frozen(kw_only=True)
class RowReader:
    """Makes samples from rows.

    Attributes:
        finder: Finds the files of a row's image.
        labels: Reads the labels in `label_columns`.
        label_columns: The columns of the labels.
        masks: Whether these name files, the masks.
        where: The values that rows must have, by column.
        missing_values: Values that mean a blank cell.
        missing_labels: What to do with rows without a label.
        missing_files: What to do with rows whose image is missing.
        keep: The columns that are copied to the predictions.
        group: The column of the groups.
        patterns: Without such a column, patterns that capture the group in the id.
        ungrouped: What to do with rows without a group.
        split: The column of the splits.
        split_of: The split that each of its values stands for.
        usual_splits: Whether these are the usual names, in upper or lower case.
        short_rows: What to do with rows that end before a column that is needed.
        quotes: Whether cells are checked for rows inside an unclosed quote.
        repeated: What to do with several rows for one image.
    """

    finder: ImageFinder
    labels: LabelReader
    label_columns: tuple[str, ...]
    where: Mapping[str, frozenset[Key]]
    missing_values: frozenset[Key]
    missing_labels: Literal["error", "drop"]
    missing_files: Literal["error", "drop"]
    keep: tuple[str, ...]
    group: str | None
    patterns: Sequence[re.Pattern[str]]
    ungrouped: Ungrouped
    split: str | None
    split_of: Mapping[Key, Split]
    usual_splits: bool
    short_rows: Literal["error", "blank"] = "error"
    quotes: Quotes = "checked"
    repeated: Repeated = "error"
    masks: bool = False

    def rows(
        self, table: TableContent, positions: Mapping[str, int], report: RowReport
    ) -> list[KeptRow]:
        """The rows that become samples; problems and left-out rows are added to the report."""
        kept: list[KeptRow] = []
        first_row: dict[str, int] = {}
        width = len(table.header)
        cells_of: list[tuple[int, dict[str, str]]] = []
        odd = Oddities()
        for problem in table.problems:
            report.refuse(*problem)
        report.remarks += [*table.remarks, *near_names(table.header, positions)]
        torn = self._swallowed(table, positions, report)
        short = []
        for number, cells in table.rows:
            if number in torn:
                continue
            if any(map(composed, cells[width:])):
                report.refuse(
                    f"row {number}: {len(cells)} cells, but row 1 has {width}.",
                    "Put cells that hold the delimiter in double quotes.",
                )
                continue
            if len(cells) < width:
                lacking = [name for name, at in positions.items() if at >= len(cells)]
                if lacking and self.short_rows == "error":
                    report.refuse(
                        f"row {number}: {len(cells)} cells, but row 1 has {width}: it ends before "
                        f"column {lacking[0]!r}.",
                        'If cells at the end may be left out, set dataset.short_rows = "blank".',
                    )
                    continue
                short.append(number)
                cells = [*cells, *[""] * (width - len(cells))]
            raw = {name: cells[at] for name, at in positions.items()}
            cells_of.append((number, cleaned(number, raw, odd, as_written=self._as_written)))
        if short:
            report.remarks.append(
                f"{counted(len(short), 'row')} with fewer cells than row 1 {_was(short)} read with "
                f"blank ones at the end, {rows_named(short)}."
            )
        report.remarks += odd.remarks()
        if self.group is not None:
            look_at_groups(self.group, [(n, cell[self.group]) for n, cell in cells_of], report)
        self._check_values(cells_of, report)
        for number, cell in cells_of:
            row = _Row(number=number)
            found = self._read(row, cell, first_row)
            if row.dropped is not None:
                report.leave_out(number, *row.dropped)
                continue
            for fault in row.faults():
                report.refuse_row(fault)
            if row.own:
                report.own.append(number)
            if found is not None and not row.problems:
                kept.append(found)
        if self.repeated != "error":
            kept = joined(kept, self.labels, report, anyone=self.repeated == "any")
        if self.group is not None:
            report.remarks += remarks_on(
                {one.sample.group for one in kept if one.sample.group is not None},
                noun="groups",
                column=self.group,
                merged="write them alike",
            )
        return kept

    @property
    def _as_written(self) -> frozenset[str]:
        """The columns whose cells must not be changed: paths, and those in `keep`."""
        images = (name for text in self.finder.templates for name in columns_of(text))
        return frozenset((*images, *self.keep, *(self.label_columns if self.masks else ())))

    def _swallowed(
        self, table: TableContent, positions: Mapping[str, int], report: RowReport
    ) -> set[int]:
        """Refuse the rows with other rows inside an unclosed quote, and return their numbers."""
        if self.quotes == "trusted":
            return set()
        columns = dict.fromkeys(name for text in self.finder.templates for name in columns_of(text))
        places = {name: positions[name] for name in columns}

        def is_there(cells: Sequence[str]) -> bool:
            if len(cells) <= max(places.values()):
                return False
            names = self.finder.names({n: cells[at].strip() for n, at in places.items()}, _ignore)
            return names is not None and self.finder.find(names, _ignore, _ignore) is not None

        torn = set()
        for number, column, line in swallowed(table, list(places.values()), is_there):
            torn.add(number)
            report.refuse(
                f"row {number}: the cell in column {column!r} holds rows of the table, such as "
                f"{line[:60]!r}: a double quote before them is not closed in its row.",
                f'{QUOTES} If the cell is right, set dataset.quotes = "trusted".',
            )
        return torn

    def _read(self, row: _Row, raw: Mapping[str, str], first_row: dict[str, int]) -> KeptRow | None:
        if any(key(raw[column]) not in wanted for column, wanted in self.where.items()):
            row.drop("with other values", "dataset.where")
            return None
        cell = raw
        if self.missing_values:
            cell = {name: "" if key(v) in self.missing_values else v for name, v in raw.items()}
        label = self.labels.read([cell[column] for column in self.label_columns], row.refuse_label)
        if label is None:
            several = "s" * (len(self.label_columns) > 1)
            which = f"column{several} {listed(self.label_columns)}"
            if self.missing_labels == "drop":
                row.drop(f"without a label in {which}", "dataset.missing_labels")
                return None
            row.refuse_label(f"no label in {which}.", _DROP_LABELS)
        names = self.finder.names(cell, lambda *problem: self._absent(row, *problem))
        if names is None:
            return None
        found = self.finder.find(names, lambda *problem: self._absent(row, *problem), row.refuse)
        row.id = id_ = composed(names[0])
        group = self._group(row, id_, cell)
        split = self._split(row, cell)
        if row.dropped is not None:
            return None
        path = os.path.join(self.finder.root, names[0])  # noqa: PTH118  (many files)
        if found is not None and isinstance(found[0], str):
            path = found[0]  # with the suffix that was found
        row.path = path
        same = same_file(path)
        before = first_row.setdefault(same, row.number)
        if before != row.number and self.repeated == "error":
            # A different id, so that leaving it out keeps the earlier row.
            row.id = f"{id_} (row {row.number})"
            row.refuse(f"{names[0]!r} is already in row {before}.", _ONE, "id")
        if found is None:
            return None
        image = found[0] if len(found) == 1 else found
        extra = {column: composed_lines(raw[column]) for column in self.keep}
        sample = Sample(id=id_, image=image, label=0, group=group, split=split, extra=extra)
        return KeptRow(number=row.number, sample=sample, label=label, path=same)

    def _absent(self, row: _Row, problem: str, hint: str) -> None:
        if self.missing_files == "drop":
            row.drop("without an image file", "dataset.missing_files", problem)
        else:
            row.refuse(problem, f"{hint} {_DROP_FILES}".strip(), "missing")

    def _group(self, row: _Row, id_: str, cell: Mapping[str, str]) -> str | None:
        if self.group is not None:
            group = composed(cell[self.group]) or None
            problem = f"no group in column {self.group!r}."
            remedy = _UNGROUPED
        elif self.patterns:
            group = group_of(self.patterns, id_)
            problem = f"dataset.group_pattern captures nothing in {id_!r}."
            remedy = (
                "Change the pattern, or give a list of patterns, of which the first that matches "
                f"counts. {_UNGROUPED}"
            )
        else:
            return None
        if group is None:
            if self.ungrouped == "error":
                row.refuse(problem, remedy)
            elif self.ungrouped == "drop":
                row.drop("without a group", "dataset.ungrouped")
            row.own = self.ungrouped == "own"
        return group

    def _split(self, row: _Row, cell: Mapping[str, str]) -> Split | None:
        if self.split is None:
            return None
        value = cell[self.split]
        split = self.split_of.get(key(value.lower() if self.usual_splits else value))
        if split is None:
            said = f"{value!r} in column {self.split!r} is not a split"
            if not value:
                said = f"no split in column {self.split!r}"
            elif not self.usual_splits:
                said = f"{value!r} in column {self.split!r} is in no split of dataset.splits"
            row.refuse(f"{said}.", _SPLITS if self.usual_splits else _OWN_SPLITS)
        return split

    def _check_values(
        self, rows: Sequence[tuple[int, Mapping[str, str]]], report: RowReport
    ) -> None:
        """Report values of `where` and `split_of` that no row has: they may be misspelt."""
        for column, wanted in self.where.items():
            held = {key(cell[column]) for _, cell in rows}
            absent = sorted(str(value) for value in wanted - held)
            if absent:
                report.remarks.append(
                    f"No row has {listed(absent)} in column {column!r} (dataset.where)."
                )
        if self.split is None or self.usual_splits:
            return
        held = {key(cell[self.split]) for _, cell in rows}
        absent = [str(value) for value in self.split_of if value not in held]
        if absent:
            report.refuse(
                f"no row has {listed(absent)} in column {self.split!r}.",
                "Correct dataset.splits.",
            )


def _ignore(*_: object, **__: object) -> None:
    pass


def _was(rows: Sequence[int]) -> str:
    return "was" if len(rows) == 1 else "were"


_ONE = (
    "Each image may be in only one row. If the table has a row for each annotation or reader, "
    'set dataset.repeated to "agree" (rows that say the same become one sample) or, for '
    'findings, "any"; or leave all but one row out, for example with dataset.where.'
)
_SPLITS = (
    "Write training, validation or test, or name in dataset.splits the values that stand for "
    "them; dataset.where leaves rows out."
)
_OWN_SPLITS = "Add the value to dataset.splits, or leave its rows out with dataset.where."
