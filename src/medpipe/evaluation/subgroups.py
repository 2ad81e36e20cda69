"""Subgroups: the samples that share a value of a kept column, such as sex or hospital."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medpipe.evaluation.predictions import Predictions

MOST = 20
"""A column of more different values, such as an age or a name, makes no subgroups."""


def subgroup_columns(predictions: Predictions) -> list[str]:
    """The kept columns that make subgroups: those of 2 to 20 different values."""
    return [name for name, cells in predictions.extra.items() if 2 <= len(set(cells)) <= MOST]


def by_value(predictions: Predictions, column: str) -> dict[str, Predictions]:
    """The predictions by the value that the samples have in a kept column, in its order.

    A blank cell is a value like others: samples of which nothing is known may differ too.
    """
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(predictions.extra[column]):
        rows.setdefault(value, []).append(row)
    return {value: predictions.taken(rows[value]) for value in sorted(rows)}


def group_count(predictions: Predictions) -> int:
    """How many groups there are; a sample without one is a group of its own."""
    named = {group for group in predictions.groups if group is not None}
    return len(named) + predictions.groups.count(None)
