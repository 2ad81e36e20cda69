"""Read labels and the task from the cells of a table.

Each kind of label is read in two steps, since the classes are known only when all rows are read:
`read` reads one row's cells, `finish` makes the labels of all rows that are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import attrs

from medpipe.builtin.datasets.listing.likely_mistakes import numbers_as_classes
from medpipe.builtin.datasets.listing.spellings import remarks_on
from medpipe.builtin.datasets.listing.values import Key, composed, is_number, key
from medpipe.builtin.datasets.listing.wording import listed, rows_named
from medpipe.plugin import DataError, Multiclass, Task, TaskStep

if TYPE_CHECKING:
    from medpipe.builtin.datasets.listing.row_report import RowReport
    from medpipe.plugin import LabelImage

Label: TypeAlias = int | float | tuple[float, ...]
Refuse: TypeAlias = Callable[[str, str], None]
"""Takes what is wrong with a cell, and the remedy."""
Read: TypeAlias = Sequence[tuple[int, Any]]
"""The numbers of the rows that are kept, and the result of `read` for each."""

LARGEST = 3.4e38
"""Larger numbers are infinite in float32."""
FEW = 10
"""Up to this many classes may have one row each."""
MANY = 50
"""More classes than this that are all numbers are taken for a regression's target."""


class LabelReader(Protocol):
    """Reads one kind of label.

    Attributes:
        joins_any: Whether `joined` supports `anyone`.
    """

    joins_any: ClassVar[bool]

    def read(self, cells: Sequence[str], refuse: Refuse) -> Any:
        """Read the cells of one row; None where there is no label."""

    def joined(self, values: Sequence[Any], *, anyone: bool) -> Any:
        """Join the labels of several rows of one image; None where they differ.

        Args:
            values: The result of `read` for each.
            anyone: Whether a finding is positive if one row has it.
        """

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label | LabelImage], Task]:
        """The labels of the rows that are kept, and the task."""


@attrs.frozen(kw_only=True)
class ClassReader:
    """One class for each row.

    Attributes:
        step: The task.
        column: The column.
        classes: The class of each value; None: every value is a class.
        asked: Whether the configuration sets the task explicitly.
    """

    joins_any: ClassVar[bool] = False

    step: TaskStep = Multiclass()
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
        names = class_names(values, self.classes, self.column, report)
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
            report.remarks += numbers_as_classes(names, self.column)
        if len(names) == 1:
            raise DataError(
                f"{report.file} holds only one class, {names[0]!r} in column {self.column!r}. A "
                "classifier needs two or more; name another column with dataset.label."
            )
        names = self.step.ordered(names)
        index = {name: position for position, name in enumerate(names)}
        classes = self.classes
        labels = [index[v if classes is None else classes[key(v)]] for _, v in rows]
        return labels, Task(kind=self.step, names=names)

    def _refuse_names(self, rows: Read, names: Sequence[str], report: RowReport) -> None:
        """Refuse a column such as an age or a name, most of whose values are unique."""
        counts = Counter(value for _, value in rows)
        alone = [name for name in names if counts[name] == 1]
        if len(names) > FEW and 2 * len(alone) > len(names):
            raise DataError(
                f"{report.file}: column {self.column!r} holds {len(names)} different values, of "
                f"which {len(alone)} are in one row only, such as {listed(alone[:3])}: these are "
                "not classes that can be learned. Name another column with dataset.label, merge "
                'values in dataset.classes, or for numbers set dataset.task = "regression". If '
                'each is a class nevertheless, set dataset.task = "multiclass".'
            )


@attrs.frozen(kw_only=True)
class OneHotReader:
    """One-hot labels: a column for each class, of which one in each row is 1.

    Attributes:
        step: The task.
        columns: The columns, which name the classes.
        classes: The class of each column; None: every column is one.
    """

    joins_any: ClassVar[bool] = False

    step: TaskStep = Multiclass()
    columns: tuple[str, ...]
    classes: Mapping[Key, str] | None

    def read(self, cells: Sequence[str], refuse: Refuse) -> str | None:
        """The column that has the 1; None where all cells are blank."""
        if not any(cells):
            return None
        flags = [FLAGS.get(key(cell.lower())) if cell else 0.0 for cell in cells]
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
            name_of = dict(zip(self.columns, names, strict=True))
        else:
            values = [(number, (value,)) for number, value in rows]
            names = class_names(values, self.classes, "label", report)
            name_of = {column: self.classes[key(column)] for column in self.columns}
        names = self.step.ordered(names)
        index = {name: place for place, name in enumerate(names)}
        return [index[name_of[v]] for _, v in rows], Task(kind=self.step, names=names)


FLAGS: Mapping[Key, float] = {
    Decimal(0): 0.0,
    Decimal(1): 1.0,
    "false": 0.0,
    "true": 1.0,
}
"""Values for a finding that is present or absent."""
_ONE_HOT = (
    "In columns of classes each row has one 1, and 0 or blanks in the others. If an image may "
    'have several classes or none, set dataset.task = "multilabel".'
)


def _one_class(values: Sequence[str], classes: Mapping[Key, str] | None) -> str | None:
    named = classes or {}
    return values[0] if len({named.get(key(value), value) for value in values}) == 1 else None


def same_numbers(values: Sequence[tuple[float, ...]]) -> tuple[float, ...] | None:
    """The numbers of several rows if they are equal, else None."""
    return values[0] if len({tuple(map(repr, some)) for some in values}) == 1 else None


def class_names(
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
