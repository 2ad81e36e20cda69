"""How many samples of each class, and how many groups, lie in each split."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from medpipe.steps import SPLITS
from medpipe.system.html import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medpipe.steps import Sample, Split, Task

GROUPS = "(groups)"
"""The name of the row of groups."""


def class_counts(by_split: Mapping[Split, Sequence[Sample]], task: Task) -> dict[str, list[int]]:
    """The samples of each class in training, validation and test, where the task has classes."""
    found = [task.step.classes([sample.label for sample in by_split[split]]) for split in SPLITS]
    totals = [Counter(classes) for classes in found if classes is not None]
    if len(totals) < len(SPLITS):
        return {}
    return {name: [counts[number] for counts in totals] for number, name in enumerate(task.names)}


def group_counts(by_split: Mapping[Split, Sequence[Sample]]) -> list[int]:
    """The groups in training, validation and test; empty where no sample has one."""
    groups = [{sample.group for sample in by_split[split]} - {None} for split in SPLITS]
    return [len(some) for some in groups] if any(groups) else []


def as_html(by_split: Mapping[Split, Sequence[Sample]], task: Task) -> str:
    """The classes, samples and groups of a split as a table for notebooks."""
    groups = group_counts(by_split)
    counts = {
        **class_counts(by_split, task),
        "(samples)": [len(by_split[split]) for split in SPLITS],
        **({GROUPS: groups} if groups else {}),
    }
    rows = [[name, *(f"{count:,}" for count in some)] for name, some in counts.items()]
    return table(rows, title="Split", head=("", *SPLITS))
