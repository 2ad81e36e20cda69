"""The problems of a table's rows, collected, and the rows that were left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.builtin.datasets.listing.wording import counted, rows_named
from medpipe.plugin import DataError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MOST_SHOWN = 10


@attrs.define(kw_only=True)
class RowReport:
    """Collects problems and left-out rows; `raise_problems` and `notes` report them.

    Attributes:
        file: The table.
        problems: A line for each.
        remedies: What to do about them, each once.
        left_out: The rows that were left out, by the reason and the setting that asked for it.
        examples: A sentence on the first of these for each reason.
        own: The rows that became a group of their own.
        remarks: More sentences for the notes.
        faults: The problems that concern single rows.
    """

    file: Path
    problems: list[str] = attrs.field(factory=list)
    remedies: dict[str, None] = attrs.field(factory=dict)
    left_out: dict[tuple[str, str], list[int]] = attrs.field(factory=dict)
    examples: dict[tuple[str, str], str] = attrs.field(factory=dict)
    own: list[int] = attrs.field(factory=list)
    remarks: list[str] = attrs.field(factory=list)
    faults: list[Fault] = attrs.field(factory=list)

    def refuse(self, problem: str, remedy: str = "") -> None:
        """Add a problem, and its remedy."""
        self.problems.append(problem)
        if remedy:
            self.remedies[remedy] = None

    def refuse_row(self, fault: Fault) -> None:
        """Add a problem of a single row."""
        self.refuse(fault.message, fault.remedy)
        self.faults.append(fault)

    def take_faults(self) -> tuple[Fault, ...]:
        """Take the faults of single rows out of the report.

        Raises:
            DataError: There are problems of another kind.
        """
        if len(self.problems) > len(self.faults):
            self.raise_problems()
        taken = tuple(self.faults)
        for noted in (self.problems, self.remedies, self.faults):
            noted.clear()
        return taken

    def leave_out(self, number: int, what: str, setting: str, example: str = "") -> None:
        """Add a row that is left out: ``without a label``, ``dataset.missing_labels``."""
        self.left_out.setdefault((what, setting), []).append(number)
        if example:
            self.examples.setdefault((what, setting), f"row {number}: {example}")

    def raise_problems(self) -> None:
        """Raise one error with the first ten problems and all remedies, if there are any."""
        if self.problems:
            raise self._error(self.problems, self.remedies)

    def refusal(self, faults: Sequence[Fault]) -> DataError:
        """The error for faults in all rows, which leave no sample."""
        remedies = dict.fromkeys(fault.remedy for fault in faults if fault.remedy)
        return self._error([fault.message for fault in faults], remedies)

    def _error(self, problems: Sequence[str], remedies: Iterable[str]) -> DataError:
        shown = list(problems[:MOST_SHOWN])
        if len(problems) > MOST_SHOWN:
            shown.append(f"and {len(problems) - MOST_SHOWN:,} more")
        lines = [f"{self.file} can't be used:", *(f"  {line}" for line in shown), *remedies]
        return DataError("\n".join(lines))

    def notes(self) -> tuple[str, ...]:
        """A sentence for each reason for which rows were left out, and the remarks."""
        sentences = [
            f"{counted(len(rows), 'row')} {what} {'was' if len(rows) == 1 else 'were'} left out "
            f"({setting}), {rows_named(rows)}."
            for (what, setting), rows in self.left_out.items()
        ]
        if self.own:
            became = "is a group of its own" if len(self.own) == 1 else "are groups of their own"
            sentences.append(
                f"{counted(len(self.own), 'row')} without a group {became} (dataset.ungrouped), "
                f"{rows_named(self.own)}."
            )
        return (*sentences, *self.remarks)
