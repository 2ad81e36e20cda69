"""The rows of the table, each by its name.

A row is a class with a name, a word on how long it takes, and `measure`, which gives its lines as
soon as they are measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from benchmarks.rows.accuracy import Accuracy
from benchmarks.rows.epochs import Radiographs, Tutorial, Volumes
from benchmarks.rows.growth import Growth
from benchmarks.rows.loading import Batches, First
from benchmarks.rows.overhead import Overhead
from benchmarks.rows.training import Memory, TrainingRate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.measuring import Bench
    from benchmarks.table import Line


class Row(Protocol):
    """One row, which may be several lines."""

    name: ClassVar[str]
    minutes: ClassVar[str]

    def measure(self, bench: Bench) -> Iterator[Line]:
        """Measure, and give each line at once."""


ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        First(),
        Batches(),
        TrainingRate(),
        Memory(),
        Accuracy(),
        Tutorial(),
        Radiographs(),
        Volumes(),
        Overhead(),
        Growth(),
    )
}
"""All rows, in the order of the table."""
