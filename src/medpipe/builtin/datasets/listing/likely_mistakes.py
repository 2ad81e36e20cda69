"""Sentences about columns of a table that are probably meant in another way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medpipe.builtin.datasets.listing.values import is_number
from medpipe.builtin.datasets.listing.wording import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PATIENT = re.compile(
    r"(?i)(patient|subject|person|participant|case|mrn|pid)([ _-]?(id|no|number))?"
)
"""Names of columns of patients."""
STAND_INS = (-9.0, -99.0, -999.0, -9999.0, -99999.0)
"""Numbers that stand for a missing one, where no other is below 0."""
FEW = 10
"""Up to this many numbers, of classes or of rows, nothing is said."""


def unused_patients(header: Sequence[str], used: Iterable[str]) -> list[str]:
    """A column of patients that is not the group."""
    free = [name for name in header if PATIENT.fullmatch(name) and name not in set(used)]
    if not free:
        return []
    return [
        f"Column {free[0]!r} seems to name patients, and no group is given: images of one patient "
        f"can be in training and in test. If it does, set dataset.group = {free[0]!r}."
    ]


def numbers_as_classes(names: Sequence[str], column: str) -> list[str]:
    """Many classes that are numbers, where the task was not given."""
    if len(names) <= FEW or not all(map(is_number, names)):
        return []
    return [
        f"Column {column!r} holds {len(names)} different numbers, such as {listed(names[:3])}, and "
        'each is taken for a class. To predict the number set dataset.task = "regression"; if '
        'each is a class, set dataset.task = "multiclass".'
    ]


def odd_targets(values: Sequence[float], column: str) -> list[str]:
    """A target of two values, of one, or with a number that stands for a missing one."""
    if len(values) <= FEW:
        return []
    different = sorted(set(values))
    if len(different) == 1:
        return [f"Column {column!r} is {different[0]:g} in all rows: there is nothing to predict."]
    if len(different) == 2:
        low, high = different
        return [
            f"Column {column!r} holds only the numbers {low:g} and {high:g}. If these are "
            'classes, set dataset.task = "multiclass".'
        ]
    lowest = different[0]
    if lowest in STAND_INS and different[1] >= 0:
        return [
            f"Column {column!r} is {lowest:g} in {counted(values.count(lowest), 'row')} and never "
            "below 0 elsewhere. If that stands for a blank cell, set dataset.missing_values = "
            f"['{lowest:g}']."
        ]
    return []
