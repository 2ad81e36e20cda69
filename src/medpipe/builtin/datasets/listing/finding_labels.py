"""Labels of several findings: named in one column, or flagged in a column each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.builtin.datasets.listing.labels import (
    FLAGS,
    Label,
    Read,
    Refuse,
    class_names,
    same_numbers,
)
from medpipe.builtin.datasets.listing.values import Key, composed, key
from medpipe.builtin.datasets.listing.wording import listed
from medpipe.plugin import DataError, Multilabel, Task, TaskStep

if TYPE_CHECKING:
    from medpipe.builtin.datasets.listing.row_report import RowReport


@attrs.frozen(kw_only=True)
class FindingReader:
    """Any number of findings in one cell.

    Attributes:
        step: The task.
        column: The column.
        separator: The separator of findings.
        negative: Values that mean no finding.
        classes: The finding that each value is merged into; None: every value is a finding.
        blank_is_negative: Whether a blank cell means no finding.
    """

    joins_any: ClassVar[bool] = True

    step: TaskStep = Multilabel()
    column: str
    separator: str
    negative: frozenset[Key]
    classes: Mapping[Key, str] | None
    blank_is_negative: bool

    def read(self, cells: Sequence[str], refuse: Refuse) -> tuple[str, ...] | None:
        """The findings, without values that mean none."""
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
        """The union of the findings, or the findings if all rows have the same; else None."""
        if anyone:
            return tuple(dict.fromkeys(value for some in values for value in some))
        named = self.classes or {}
        sets = {frozenset(named.get(key(value), value) for value in some) for some in values}
        return values[0] if len(sets) == 1 else None

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """A multi-hot vector for each row, over all findings sorted."""
        names = class_names(rows, self.classes, self.column, report)
        if not names:
            raise DataError(
                f"{report.file} holds no finding in column {self.column!r}. Name another column "
                "with dataset.label, or fewer values in dataset.negative."
            )
        if all(len(values) < 2 for _, values in rows):
            report.remarks.append(
                f"No cell in column {self.column!r} holds two findings. Check that "
                f"{self.separator!r} separates them (dataset.separator)."
            )
        index = {name: position for position, name in enumerate(names)}
        classes = self.classes
        labels: list[Label] = []
        for _, values in rows:
            vector = [0.0] * len(names)
            for value in values:
                vector[index[value if classes is None else classes[key(value)]]] = 1.0
            labels.append(tuple(vector))
        return labels, Task(kind=self.step, names=names)


@attrs.frozen(kw_only=True)
class FlagReader:
    """A column for each finding: 1, 0, -1 (uncertain) or blank.

    Attributes:
        step: The task.
        columns: The columns, which name the findings.
        uncertain: The meaning of -1; None: it is an error.
        blank: The meaning of a blank cell.
        asked: Whether the configuration sets the task explicitly.
    """

    joins_any: ClassVar[bool] = True

    step: TaskStep = Multilabel()
    columns: tuple[str, ...]
    uncertain: Literal["missing", "positive", "negative"] | None
    blank: Literal["missing", "negative"]
    asked: bool = True

    def joined(self, values: Sequence[tuple[float, ...]], *, anyone: bool) -> Any:
        """The maximum over rows, ignoring missing labels, or the vector that all rows share."""
        if not anyone:
            return same_numbers(values)
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
                f"Each row has exactly one 1 in the columns {listed(names)}. If these are "
                'classes, of which an image has one, set dataset.task = "multiclass"; if they '
                'are findings, set "multilabel".'
            )
        return [vector for _, vector in rows], Task(kind=self.step, names=names)

    def _flag(self, column: str, cell: str, refuse: Refuse) -> float:
        if not cell:
            return _MEANING[self.blank]
        value = key(cell.lower())
        if value in FLAGS:
            return FLAGS[value]
        if value == -1 and self.uncertain is not None:
            return _MEANING[self.uncertain]
        remedy = "Write 1, 0 or nothing."
        if len(self.columns) == 1:
            remedy += " If a cell names its findings, set dataset.separator."
        if value == -1:
            remedy = (
                'If -1 means uncertain, set dataset.uncertain to "missing", "positive" or '
                '"negative".'
            )
        refuse(f"{cell!r} in column {column!r} is neither 1 nor 0.", remedy)
        return 0.0


_MEANING = {"missing": math.nan, "negative": 0.0, "positive": 1.0}
