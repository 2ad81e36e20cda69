"""What is counted for each structure of a segmentation over all cases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medpipe.system.text import counted
from medpipe.tasks.remarks import FEW, REMEDY, TOO_GOOD, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    predicted = scores.reshape(len(scores), len(names), scores.shape[1] // len(names))[:, :, 3]
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


def structure_remarks(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences on structures of which nothing is known, or that are missed or invented.

    Args:
        metrics: The metrics, with ``structures`` and, if it is known, ``unit``.
    """
    table = metrics.get("structures", {})
    if not metrics.get("images"):
        return []
    remarks = []
    unit = metrics.get("unit")
    if unit is not None and " or " in unit:
        remarks.append(
            f"some files have no spacing: distances and volumes are in {unit}, and means mix them."
        )
    volume = {None: "", "mm": " mm3 (in 2-D mm2)"}.get(unit, f" {unit}")
    for name, one in table.items():
        cases, missed, absent, invented = (
            one[key] for key in ("cases", "missed", "absent", "invented")
        )
        if not cases + absent:
            remarks.append(f"{name!r} is annotated in no case: it is left out of all means.")
        elif not cases:
            remarks.append(f"no case has {name!r}: it is left out of all means.")
        elif missed == cases:
            remarks.append(f"{name!r} is never found, of {counted(cases, 'case')}. {REMEDY}")
        elif missed:
            remarks.append(
                f"{name!r} is missed in {missed} of {cases} cases: Dice and NSD are 0 there, and "
                "the hd95 counts them as infinitely far."
            )
        if invented:
            remarks.append(
                f"{name!r} is predicted in {invented} of {counted(absent, 'case')} without it, on "
                f"average {one['invented_volume']:.4g}{volume}: no mean says so."
            )
    few = {name: one["cases"] for name, one in table.items() if 0 < one["cases"] < FEW}
    if few:
        remarks.append(f"with fewer than {FEW} cases a Dice is hardly known: {named(few)}.")
    if metrics.get("dice") == 1:
        remarks.append(f"all masks are exactly right. {TOO_GOOD}")
    return remarks


def _mean(values: Array) -> float | None:
    return math.fsum(values) / len(values) if len(values) else None
