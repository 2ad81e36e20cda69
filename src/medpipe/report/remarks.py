"""The remarks on a result that may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from medpipe.evaluation.predictions import Predictions
    from medpipe.report.blocks import Shown


def shown_remarks(metrics: Mapping[str, Any], predictions: Predictions, shown: Shown) -> list[str]:
    """The remarks on a result as sentences, without those that name a sample or a patient.

    Args:
        metrics: Of a split.
        predictions: Of the same.
        shown: What may be shown; with paths, all remarks.
    """
    remarks = [f"{remark[0].upper()}{remark[1:]}" for remark in metrics.get("remarks", ())]
    if shown.paths:
        return remarks
    names = {repr(name) for name in _names(metrics, predictions)}
    kept = [remark for remark in remarks if not any(name in remark for name in names)]
    left = len(remarks) - len(kept)
    if left:
        kept.append(f"Left out here: {counted(left, 'remark')} that may name patients.")
    return kept


def names_one(tables: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a value of a kept column may be the name of a patient: one alone has it."""
    return any(table["groups"] < 2 for table in tables.values())


def _names(metrics: Mapping[str, Any], predictions: Predictions) -> Iterator[str]:
    yield from predictions.ids
    yield from (group for group in predictions.groups if group is not None)
    for tables in metrics.get("subgroups", {}).values():
        if names_one(tables):
            yield from tables
