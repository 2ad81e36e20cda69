"""Leaks as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpipe.steps import SPLITS, Split
from medpipe.system.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from medpipe.data.splits.leaks import Leaks

NAMED = 3
"""How many groups or sets of copies a line names."""


def leak_lines(leaks: Leaks, splits: Mapping[str, Split]) -> list[str]:
    """A line for groups in several splits, one for copies of one image; none where none leak."""
    lines: list[str] = []
    if leaks.groups:
        named = [f"{key!r} ({_splits_of(ids, splits)})" for key, ids in leaks.groups[:NAMED]]
        count = len(leaks.groups)
        lines.append(f"{counted(count, 'group')}: {enumerated(named, count)}.")
    if leaks.copies:
        named = [_copies(ids, splits) for ids in leaks.copies[:NAMED]]
        count = len(leaks.copies)
        lines.append(f"{counted(count, 'set')} of duplicate images: {enumerated(named, count)}.")
    return lines


def enumerated(named: Sequence[str], total: int) -> str:
    """The named ones, and how many more there are."""
    more = f" and {total - len(named)} more" if total > len(named) else ""
    return ", ".join(named) + more


def _splits_of(ids: Iterable[str], splits: Mapping[str, Split]) -> str:
    found = {splits[sample_id] for sample_id in ids}
    return ", ".join(split for split in SPLITS if split in found)


def _copies(ids: Sequence[str], splits: Mapping[str, Split]) -> str:
    """The first copy in each split: ``'a' (training) = 'b' (test)``."""
    first: dict[Split, str] = {}
    for sample_id in ids:
        first.setdefault(splits[sample_id], sample_id)
    return " = ".join(f"{sample_id!r} ({split})" for split, sample_id in first.items())
