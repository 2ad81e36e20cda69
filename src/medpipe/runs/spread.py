"""`Spread`: a metric over several runs."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

__all__ = ["Spread"]


@attrs.frozen(kw_only=True)
class Spread:
    """A metric over several runs.

    Attributes:
        mean: The mean over the runs in which it is defined; None where there is none.
        standard_deviation: The sample standard deviation (n - 1) over these runs; None where
            there are fewer than two. It is not a confidence interval.
        minimum: The lowest.
        maximum: The highest.
        values: One for each run, in the order of the set; None where it is undefined.
    """

    mean: float | None
    standard_deviation: float | None
    minimum: float | None
    maximum: float | None
    values: tuple[float | None, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Compute the statistics of some values."""
        given = tuple(values)
        known = [value for value in given if value is not None and math.isfinite(value)]
        return cls(
            mean=statistics.fmean(known) if known else None,
            standard_deviation=statistics.stdev(known) if len(known) > 1 else None,
            minimum=min(known, default=None),
            maximum=max(known, default=None),
            values=given,
        )


def spreads(tables: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """The statistics of every metric that is one number in a table, over all tables."""
    names = dict.fromkeys(
        name for table in tables for name, value in table.items() if isinstance(value, float)
    )
    return {name: Spread.of(table.get(name) for table in tables) for name in names}
