"""Join several rows of one image, such as one for each box or reader, to one sample."""

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
    """A row that becomes a sample.

    Attributes:
        number: Its number.
        sample: Its sample, without the label.
        label: The label reader's result for it.
        path: The key of its (first) file; see `same_file`.
    """

    number: int
    sample: Sample
    label: Any
    path: str


def joined(
    kept: Sequence[KeptRow], labels: LabelReader, report: RowReport, *, anyone: bool
) -> list[KeptRow]:
    """Join the rows of each image; rows that contradict each other are refused.

    Args:
        kept: The rows.
        labels: The reader of their labels.
        report: Collects problems, and a remark on how many rows were joined.
        anyone: Whether a finding is positive if one row has it.
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
        remedy = "Correct the rows, or leave all but one out, for example with dataset.where."
        if label is None and labels.joins_any:
            remedy = 'To count a finding if any of the rows has it, set dataset.repeated = "any".'
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
