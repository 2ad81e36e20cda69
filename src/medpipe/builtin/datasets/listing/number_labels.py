"""Labels that are numbers: the targets of a regression."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from medpipe.builtin.datasets.listing.labels import LARGEST, Label, Read, Refuse, same_numbers
from medpipe.builtin.datasets.listing.likely_mistakes import odd_targets
from medpipe.builtin.datasets.listing.values import composed, is_number
from medpipe.plugin import Regression, Task, TaskStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.builtin.datasets.listing.row_report import RowReport


@attrs.frozen(kw_only=True)
class NumberReader:
    """One or several numbers to predict.

    Attributes:
        step: The task.
        columns: The columns, which name the targets.
        unit: Their unit.
        decimal: The decimal separator.
    """

    joins_any: ClassVar[bool] = False

    step: TaskStep = Regression()
    columns: tuple[str, ...]
    unit: str | None
    decimal: Literal[".", ","] = "."

    def joined(self, values: Sequence[tuple[float, ...]], *, anyone: bool) -> Any:
        """The numbers, if they are equal in all rows; else None."""
        return same_numbers(values)

    def read(self, cells: Sequence[str], refuse: Refuse) -> tuple[float, ...] | None:
        """The numbers, NaN for blank cells; None where all are blank."""
        numbers = tuple(self._number(*p, refuse) for p in zip(self.columns, cells, strict=True))
        return None if all(map(math.isnan, numbers)) else numbers

    def finish(self, rows: Read, report: RowReport) -> tuple[Sequence[Label], Task]:
        """The numbers as they are: alone, or in the order of the columns."""
        task = Task(kind=self.step, names=tuple(map(composed, self.columns)), unit=self.unit)
        for column, values in zip(
            self.columns, zip(*(n for _, n in rows), strict=True), strict=True
        ):
            known = [value for value in values if not math.isnan(value)]
            report.remarks += odd_targets(known, column)
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
            'Write a number such as 63.5; if a word stands for a blank cell ("NA"), name it in '
            "dataset.missing_values."
        )
        if _GROUPED.fullmatch(written):
            remedy = "Write numbers without thousands separators: 1234.5."
        elif self.decimal == "." and is_number(written.replace(",", ".")):
            remedy = 'If decimals follow a comma, set dataset.decimal = ",".'
        refuse(f"{written!r} in column {column!r} is not a number.", remedy)
        return 0.0


_GROUPED = re.compile(r"[+-]?\d{1,3}([,. ']\d{3})+(\.\d+|,\d+)?")
