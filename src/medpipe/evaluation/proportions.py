"""95 % intervals of proportions of some of the samples, such as a sensitivity.

NumPy is imported inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from medpipe.evaluation.intervals import proportion_interval
from medpipe.evaluation.resampling import group_places

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

    Samples of one group (patient) are no independent samples; see
    `medpipe.evaluation.intervals.proportion_interval`.

    Args:
        predictions: Of these samples.
        proportions: By any key.

    Returns:
        [low, high], or None where no sample is counted, and where one group has both right and
        wrong.
    """
    places = group_places(predictions)
    return {
        key: proportion_interval(one.right.astype(float), one.counted.astype(float), places)
        for key, one in proportions.items()
    }
