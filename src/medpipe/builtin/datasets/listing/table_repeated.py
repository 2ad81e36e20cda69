"""Several rows for one image, such as one for each box or reader, joined to one sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from medpipe.builtin.datasets.listing.wording import counted, rows_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medpipe.builtin.datasets.listing.labels import LabelReader
    from medpipe.builtin.datasets.listing.row_report import RowReport
    from medpipe.plugin import Sample


@attrs.frozen(kw_only=True)
class KeptRow:
    """A row that is taken.

    Attributes:
        number: Its number.
        sample: Its sample, but for the label.
        label: What the label reader gave for it.
        path: What all ways to write its (first) file have in common.
    """

    number: int
    sample: Sample
    label: Any
    path: str


def joined(
    kept: Sequence[KeptRow], labels: LabelReader, report: RowReport, *, anyone: bool
) -> list[KeptRow]:
    """One row for each image; rows of one image that say different things are refused.

    Args:
        kept: The rows.
        labels: What read their labels.
        report: Takes what is wrong, and how many rows were joined.
        anyone: Whether a finding is there if one row has it.
    """
    together: dict[str, list[KeptRow]] = {}
    for row in kept:
        together.setdefault(row.path, []).append(row)
    several = [same for same in together.values() if len(same) > 1]
    if several:
        report.remarks.append(
            f"{sum(map(len, several)):,} rows name one of {counted(len(several), 'image')} each, "
            "and became a sample for each image (dataset.repeated)."
        )
    return [
        _one_of(same, labels, report, anyone=anyone) if len(same) > 1 else same[0]
        for same in together.values()
    ]


def _one_of(
    same: Sequence[KeptRow], labels: LabelReader, report: RowReport, *, anyone: bool
) -> KeptRow:
    first = same[0]
    label = labels.joined([row.label for row in same], anyone=anyone)
    differing = [] if label is not None else ["labels"]
    differing += ["groups"] if len({row.sample.group for row in same}) > 1 else []
    differing += ["splits"] if len({row.sample.split for row in same}) > 1 else []
    if differing:
        remedy = "Correct them, or leave the others out, for example with dataset.where."
        if label is None and labels.joins_any:
            remedy = 'Where a finding is there if one of them has it set dataset.repeated = "any".'
        report.refuse(
            f"{rows_named([row.number for row in same])} name the image {first.sample.id!r} with "
            f"different {' and '.join(differing)}.",
            remedy,
        )
    extra = {
        column: "; ".join(dict.fromkeys(row.sample.extra[column] for row in same))
        for column in first.sample.extra
    }
    return attrs.evolve(
        first,
        label=first.label if label is None else label,
        sample=attrs.evolve(first.sample, extra=extra),
    )
