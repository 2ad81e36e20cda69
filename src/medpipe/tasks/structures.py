"""What is counted for each structure of a segmentation over all cases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.tasks.step import Array


def structure_table(labels: Array, scores: Array, names: Sequence[str]) -> dict[str, Any]:
    """Count cases by structure.

    Args:
        labels: True volumes, NaN where a structure is not annotated, of shape (cases, names).
        scores: Dice, NSD, HD95 and volume of each name, of shape (cases, 4 x names).
        names: The structures.

    Returns:
        Plain data by structure: ``cases``, how many have it; ``missed``, in how many of them none
        of it is predicted; ``volume`` and ``reference_volume``, the mean over these cases;
        ``absent``, how many are known to be without it; ``invented``, in how many of these some
        is predicted, and ``invented_volume``, how much there, on average. Means of no case are
        None.
    """
    predicted = scores.reshape(len(scores), len(names), -1)[:, :, 3]
    table = {}
    for place, name in enumerate(names):
        true, said = labels[:, place], predicted[:, place]
        there, absent = true > 0, true == 0
        invented = absent & (said > 0)
        table[name] = {
            "cases": int(there.sum()),
            "missed": int((there & (said == 0)).sum()),
            "volume": _mean(said[there]),
            "reference_volume": _mean(true[there]),
            "absent": int(absent.sum()),
            "invented": int(invented.sum()),
            "invented_volume": _mean(said[invented]),
        }
    return table


def _mean(values: Array) -> float | None:
    return math.fsum(values) / len(values) if len(values) else None
