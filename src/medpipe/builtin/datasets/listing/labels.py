"""From the cells of a table's label columns to labels and the question that they ask.

Each kind of label is read in two steps, since the classes are known only when the rows that stay
are: `read` looks at one row's cells, `finish` at all that was read.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.spellings import remarks_on
from medpipe.builtin.datasets.listing.values import Key, composed, is_number, key
from medpipe.builtin.datasets.listing.wording import listed, rows_named
from medpipe.plugin import DataError, Task

if TYPE_CHECKING:
    from medpipe.builtin.datasets.listing.row_report import RowReport

Label: TypeAlias = int | float | tuple[float, ...]
Refuse: TypeAlias = Callable[[str, str], None]
"""Takes what is wrong with a cell, and the remedy."""
Read: TypeAlias = Sequence[tuple[int, Any]]
"""The numbers of the rows that stay, and what `read` gave for each."""

LARGEST = 3.4e38
"""Networks compute in float32: above this there is infinity."""
FEW = 10
"""Up to so many classes may have one row each."""
MANY = 50
"""More classes than this that are all numbers are taken for a regression's target."""


class LabelReader(Protocol):
    """Reads one kind of label.

    Attributes:
        joins_any: Whether `joined` can take what any row says.
    """

    joins_any: ClassVar[bool]

    def read(self, cells: Sequence[str], refuse: Refuse) -> Any:
        """What the cells of one row say; None where they say nothing."""

    def joined(self, values: Sequence[Any], *, anyone: bool) -> Any:
        """What several rows say of one image; None where they differ.

        Args:
            values: What `read` gave for each.
            anyone: Whether a finding is there if one row has it.
        """

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """The labels of the rows that stay, and the question."""


@attrs.frozen(kw_only=True)
class ClassReader:
    """One class for each row.

    Attributes:
        column: The column.
        classes: The class of each value; None: every value is a class.
        asked: Whether the configuration says in so many words that these are classes.
    """

    joins_any: ClassVar[bool] = False

    column: str
    classes: Mapping[Key, str] | None
    asked: bool

    def read(self, cells: Sequence[str], refuse: Refuse) -> str | None:
        """The value."""
        return composed(cells[0]) or None

    def joined(self, values: Sequence[str], *, anyone: bool) -> str | None:
        """The value, where all are of one class."""
        return _one_class(values, self.classes)

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """The index of each row's class, among all classes sorted."""
        values = [(number, (value,)) for number, value in rows]
        names = _names(values, self.classes, self.column, report)
        if self.classes is None and not self.asked and len(names) > MANY:
            numbers = [name for name in names if is_number(name)]
            if len(numbers) == len(names):
                raise DataError(
                    f"{report.file}: column {self.column!r} holds {len(names)} different numbers, "
                    f"such as {listed(names[:3])}. To predict the number set dataset.task = "
                    '"regression"; if each is a class, set dataset.task = "multiclass".'
                )
        if self.classes is None and not self.asked:
            self._refuse_names(rows, names, report)
        if len(names) == 1:
            raise DataError(
                f"{report.file} holds one class only, {names[0]!r} in column {self.column!r}. A "
                "classifier needs two or more; name another column with dataset.label."
            )
        index = {name: position for position, name in enumerate(names)}
        classes = self.classes
        labels = [index[v if classes is None else classes[key(v)]] for _, v in rows]
        return labels, Task(names=names)

    def _refuse_names(self, rows: Read, names: Sequence[str], report: RowReport) -> None:
        """Refuse a column such as an age or a name, whose values hardly ever come again."""
        counts = Counter(value for _, value in rows)
        alone = [name for name in names if counts[name] == 1]
        if len(names) > FEW and 2 * len(alone) > len(names):
            raise DataError(
                f"{report.file}: column {self.column!r} holds {len(names)} different values, of "
                f"which {len(alone)} are in one row only, such as {listed(alone[:3])}: these are "
                "no classes to learn. Name another column with dataset.label, merge values in "
                'dataset.classes, or for numbers set dataset.task = "regression". If each is a '
                'class all the same, set dataset.task = "multiclass".'
            )


@attrs.frozen(kw_only=True)
class OneHotReader:
    """A column for each class, of which one in each row is 1.

    Attributes:
        columns: The columns, which name the classes.
        classes: The class of each column; None: every column is one.
    """

    joins_any: ClassVar[bool] = False

    columns: tuple[str, ...]
    classes: Mapping[Key, str] | None

    def read(self, cells: Sequence[str], refuse: Refuse) -> str | None:
        """The column that has the 1; None where all cells are blank."""
        if not any(cells):
            return None
        flags = [_FLAGS.get(key(cell.lower())) if cell else 0.0 for cell in cells]
        pairs = list(zip(self.columns, cells, flags, strict=True))
        odd = [(column, cell) for column, cell, flag in pairs if flag is None]
        ones = [column for column, _, flag in pairs if flag == 1]
        if odd:
            column, cell = odd[0]
            refuse(f"{cell!r} in column {column!r} is neither 1 nor 0.", _ONE_HOT)
        elif not ones:
            refuse(f"no 1 in the columns {listed(self.columns)}.", _ONE_HOT)
        elif len(ones) > 1:
            refuse(f"a 1 in each of the columns {listed(ones)}.", _ONE_HOT)
        return ones[0] if len(ones) == 1 else self.columns[0]

    def joined(self, values: Sequence[str], *, anyone: bool) -> str | None:
        """The column, where all are of one class."""
        return _one_class(values, self.classes)

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """The index of each row's class, in the order of the columns, or of merged ones sorted."""
        if self.classes is None:
            names = tuple(map(composed, self.columns))
            held = {composed(value) for _, value in rows}
            empty = [name for name in names if name not in held]
            if empty:
                report.remarks.append(f"No row is of {listed(empty)} (dataset.label).")
            index = {column: place for place, column in enumerate(self.columns)}
            return [index[value] for _, value in rows], Task(names=names)
        values = [(number, (value,)) for number, value in rows]
        names = _names(values, self.classes, "label", report)
        return [names.index(self.classes[key(value)]) for _, value in rows], Task(names=names)


@attrs.frozen(kw_only=True)
class FindingReader:
    """Any number of findings in one cell.

    Attributes:
        column: The column.
        separator: What stands between two findings.
        negative: Values that say that there is no finding.
        classes: The finding that each value is merged into; None: every value is a finding.
        blank_is_negative: Whether a blank cell says that there is no finding.
    """

    joins_any: ClassVar[bool] = True

    column: str
    separator: str
    negative: frozenset[Key]
    classes: Mapping[Key, str] | None
    blank_is_negative: bool

    def read(self, cells: Sequence[str], refuse: Refuse) -> tuple[str, ...] | None:
        """The findings, without those that mean none."""
        cell = composed(cells[0])
        if not cell:
            return () if self.blank_is_negative else None
        values = [value.strip() for value in cell.split(self.separator)]
        found = tuple(value for value in values if value and key(value) not in self.negative)
        none = [value for value in values if value and key(value) in self.negative]
        if found and none:
            refuse(
                f"{cell!r} in column {self.column!r} says {none[0]!r} (dataset.negative) and "
                f"{found[0]!r}.",
                "Correct the table, or leave such rows out with dataset.where.",
            )
        return found

    def joined(self, values: Sequence[tuple[str, ...]], *, anyone: bool) -> Any:
        """All findings, or the same ones."""
        if anyone:
            return tuple(dict.fromkeys(value for some in values for value in some))
        named = self.classes or {}
        sets = {frozenset(named.get(key(value), value) for value in some) for some in values}
        return values[0] if len(sets) == 1 else None

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """For each row a vector of 0 and 1, over all findings sorted."""
        names = _names(rows, self.classes, self.column, report)
        if not names:
            raise DataError(
                f"{report.file} holds no finding in column {self.column!r}. Name another column "
                "with dataset.label, or fewer values in dataset.negative."
            )
        if all(len(values) < 2 for _, values in rows):
            report.remarks.append(
                f"No cell in column {self.column!r} holds two findings: look whether "
                f"{self.separator!r} stands between them (dataset.separator)."
            )
        index = {name: position for position, name in enumerate(names)}
        classes = self.classes
        labels: list[Label] = []
        for _, values in rows:
            vector = [0.0] * len(names)
            for value in values:
                vector[index[value if classes is None else classes[key(value)]]] = 1.0
            labels.append(tuple(vector))
        return labels, Task(kind="multilabel", names=names)


@attrs.frozen(kw_only=True)
class FlagReader:
    """A column for each finding: 1, 0, -1 (uncertain) or blank.

    Attributes:
        columns: The columns, which name the findings.
        uncertain: What -1 stands for; None: it is refused.
        blank: What a blank cell stands for.
        asked: Whether the configuration says in so many words that these are findings.
    """

    joins_any: ClassVar[bool] = True

    columns: tuple[str, ...]
    uncertain: Literal["missing", "positive", "negative"] | None
    blank: Literal["missing", "negative"]
    asked: bool = True

    def joined(self, values: Sequence[tuple[float, ...]], *, anyone: bool) -> Any:
        """Each finding that one row has, or the same ones; what one row knows is known."""
        if not anyone:
            return _same_numbers(values)
        columns = zip(*values, strict=True)
        return tuple(max((v for v in some if v == v), default=math.nan) for some in columns)

    def read(self, cells: Sequence[str], refuse: Refuse) -> tuple[float, ...] | None:
        """The row's vector; None where every label is missing."""
        vector = tuple(self._flag(*pair, refuse) for pair in zip(self.columns, cells, strict=True))
        return None if all(map(math.isnan, vector)) else vector

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """The vectors as they are, in the order of the columns."""
        names = tuple(map(composed, self.columns))
        if not self.asked and len(names) > 1 and all(sum(vector) == 1 for _, vector in rows):
            report.remarks.append(
                f"Each row has exactly one 1 in the columns {listed(names)}. Where these are "
                'classes, of which an image has one, set dataset.task = "multiclass"; where they '
                'are findings, "multilabel".'
            )
        return [vector for _, vector in rows], Task(kind="multilabel", names=names)

    def _flag(self, column: str, cell: str, refuse: Refuse) -> float:
        if not cell:
            return _MEANING[self.blank]
        value = key(cell.lower())
        if value in _FLAGS:
            return _FLAGS[value]
        if value == -1 and self.uncertain is not None:
            return _MEANING[self.uncertain]
        remedy = "Write 1, 0 or nothing."
        if len(self.columns) == 1:
            remedy += " Where a cell names its findings, set dataset.separator."
        if value == -1:
            remedy = (
                'Where -1 stands for uncertain, set dataset.uncertain to "missing", "positive" '
                'or "negative".'
            )
        refuse(f"{cell!r} in column {column!r} is neither 1 nor 0.", remedy)
        return 0.0


@attrs.frozen(kw_only=True)
class NumberReader:
    """One or several numbers to predict.

    Attributes:
        columns: The columns, which name the targets.
        unit: Their unit.
        decimal: What stands before the decimals.
    """

    joins_any: ClassVar[bool] = False

    columns: tuple[str, ...]
    unit: str | None
    decimal: Literal[".", ","] = "."

    def joined(self, values: Sequence[tuple[float, ...]], *, anyone: bool) -> Any:
        """The numbers, where all are the same."""
        return _same_numbers(values)

    def read(self, cells: Sequence[str], refuse: Refuse) -> tuple[float, ...] | None:
        """The numbers, NaN for blank cells; None where all are blank."""
        numbers = tuple(self._number(*p, refuse) for p in zip(self.columns, cells, strict=True))
        return None if all(map(math.isnan, numbers)) else numbers

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """The numbers as they are: alone, or in the order of the columns."""
        task = Task(kind="regression", names=tuple(map(composed, self.columns)), unit=self.unit)
        if len(self.columns) == 1:
            return [numbers[0] for _, numbers in rows], task
        return [numbers for _, numbers in rows], task

    def _number(self, column: str, written: str, refuse: Refuse) -> float:
        if not written:
            return math.nan
        cell = written
        if self.decimal == ",":
            cell = "" if "." in written else written.replace(",", ".")
        if is_number(cell) and abs(float(cell)) <= LARGEST:
            return float(cell)
        if is_number(cell):
            refuse(
                f"{written!r} in column {column!r} is too large for a float32.",
                "Give the target in another unit.",
            )
            return 0.0
        remedy = (
            'Write 63.5; where a word stands for a blank cell ("NA"), name it in '
            "dataset.missing_values."
        )
        if _GROUPED.fullmatch(written):
            remedy = "Write numbers without signs between thousands: 1234.5."
        elif self.decimal == "." and is_number(written.replace(",", ".")):
            remedy = 'Where a comma stands before the decimals set dataset.decimal = ",".'
        refuse(f"{written!r} in column {column!r} is no number.", remedy)
        return 0.0


_ONE_HOT = (
    "Of columns of classes one is 1 in each row, and the others are 0 or blank. Where an image may "
    'have several or none set dataset.task = "multilabel".'
)
_GROUPED = re.compile(r"[+-]?\d{1,3}([,. ']\d{3})+(\.\d+|,\d+)?")


def _one_class(values: Sequence[str], classes: Mapping[Key, str] | None) -> str | None:
    named = classes or {}
    return values[0] if len({named.get(key(value), value) for value in values}) == 1 else None


def _same_numbers(values: Sequence[tuple[float, ...]]) -> tuple[float, ...] | None:
    return values[0] if len({tuple(map(repr, some)) for some in values}) == 1 else None


_MEANING = {"missing": math.nan, "negative": 0.0, "positive": 1.0}
_FLAGS: Mapping[Key, float] = {
    Decimal(0): 0.0,
    Decimal(1): 1.0,
    "false": 0.0,
    "true": 1.0,
}


def _names(
    rows: Read, classes: Mapping[Key, str] | None, column: str, report: RowReport
) -> tuple[str, ...]:
    """The names of all classes, sorted, numbers as numbers; values without one are refused."""
    if classes is None:
        values = {value for _, some in rows for value in some}
        merged = "merge them in dataset.classes"
        report.remarks += remarks_on(values, noun="classes", column=column, merged=merged)
        if all(map(is_number, values)):
            return tuple(sorted(values, key=lambda value: (float(value), value)))
        return tuple(sorted(values))
    unknown: dict[str, list[int]] = {}
    for number, some in rows:
        for value in dict.fromkeys(some):
            if key(value) not in classes:
                unknown.setdefault(value, []).append(number)
    for value, numbers in unknown.items():
        report.refuse(
            f"{rows_named(numbers)}: {value!r} in column {column!r} is in no class of "
            "dataset.classes.",
            "Add each value to a class of dataset.classes, or leave its rows out by naming the "
            f"others in dataset.where.{column}.",
        )
    report.raise_problems()
    names = tuple(sorted(set(classes.values())))
    held = {classes[key(value)] for _, some in rows for value in some}
    empty = [name for name in names if name not in held]
    if empty:
        report.remarks.append(f"No row has a value that dataset.classes names for {listed(empty)}.")
    return names
