"""Warn of cell values that look alike or blank, without merging them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.builtin.datasets.listing.values import Key, key
from medpipe.builtin.datasets.listing.wording import NAMED, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

BLANKS = frozenset(
    {"na", "n/a", "#n/a", "#na", "<na>", "nan", "null", "#null!", "#value!", "#ref!", "#div/0!"}
)
"""What Excel, R and pandas write for a missing value, in lower case."""


def alike(values: Iterable[str]) -> list[tuple[str, ...]]:
    """Values that differ only in case, in spaces, or in how one number is written, sorted."""
    found: dict[Key, list[str]] = {}
    for value in sorted(set(values)):
        found.setdefault(key(" ".join(value.casefold().split())), []).append(value)
    return [tuple(same) for same in found.values() if len(same) > 1]


def remarks_on(values: Iterable[str], *, noun: str, column: str, merged: str) -> list[str]:
    """Sentences about values of a column that look alike or blank.

    Args:
        values: As they are written, each at least once.
        noun: What they are: ``classes``.
        column: Where they stand.
        merged: What to do where values that look alike are one.
    """
    some = set(values)
    remarks = []
    same = alike(some)
    if same:
        named = "; ".join(listed(one) for one in same[:NAMED])
        more = f"; and {len(same) - NAMED:,} more" if len(same) > NAMED else ""
        remarks.append(
            f"Column {column!r} has {noun} that differ only in case or in how a number is "
            f"written: {named}{more}. If they are the same, {merged}."
        )
    blank = sorted(value for value in some if value.lower() in BLANKS)
    if blank:
        remarks.append(
            f"Column {column!r} has the {noun} {listed(blank)}. If this stands for a blank cell, "
            "name it in dataset.missing_values."
        )
    return remarks
