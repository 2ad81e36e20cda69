"""95 % intervals of proportions of some of the samples, such as a sensitivity.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.evaluation.intervals import _group_places, _wilson, intervals_of
from medpipe.evaluation.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from typing import TypeVar

    from medpipe.evaluation.predictions import Array, Predictions

    Key = TypeVar("Key", bound=Hashable)


@attrs.frozen(kw_only=True, eq=False)
class Proportion:
    """How many of some samples are right.

    Attributes:
        counted: Bool of shape (samples,): of which samples.
        right: Bool of shape (samples,): which are right; counted where `counted` is.
    """

    counted: Array
    right: Array

    @property
    def value(self) -> float | None:
        """The proportion; None where no sample is counted."""
        count = int(self.counted.sum())
        return int((self.right & self.counted).sum()) / count if count else None


def proportion_intervals(
    predictions: Predictions, proportions: Mapping[Key, Proportion]
) -> dict[Key, list[float] | None]:
    """Give the 95 % interval of each proportion.

    It is Wilson's where each group (patient) has one of the counted samples, and where groups have
    several but all are right, or all wrong: then a group counts as one sample. Otherwise whole
    groups are resampled; see `medpipe.evaluation.intervals.intervals_of`.

    Args:
        predictions: Of these samples.
        proportions: By any key.

    Returns:
        [low, high], or None where the proportion is undefined, or in more than 5 % of the
        resamples.
    """
    import numpy as np

    places = _group_places(predictions)
    found: dict[Key, list[float] | None] = {}
    grouped: dict[str, tuple[Key, Measured]] = {}
    for key, one in proportions.items():
        count, right = int(one.counted.sum()), int((one.right & one.counted).sum())
        groups = len(np.unique(places[one.counted]))
        if not count:
            found[key] = None
        elif groups == count or right in (0, count):
            found[key] = _wilson(groups if right == count else right, groups)
        else:
            found[key] = None  # in its place
            grouped[str(len(grouped))] = (key, _measured(one))
    if grouped:
        measured = {name: one for name, (_, one) in grouped.items()}
        resampled, _ = intervals_of(predictions, measured)
        found.update((grouped[name][0], interval) for name, interval in resampled.items())
    return found


def _measured(one: Proportion) -> Measured:
    import numpy as np

    counted = one.counted.astype(np.float64)
    right = (one.right & one.counted).astype(np.float64)

    def share(weights: Array) -> Array:
        drawn = counted @ weights
        values = np.full(len(drawn), np.nan)
        np.divide(right @ weights, drawn, out=values, where=drawn > 0)
        return values

    return Measured(value=one.value, statistic=share)
